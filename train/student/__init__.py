"""The noisy student: rounds of training on soundscapes that the round before labelled."""
