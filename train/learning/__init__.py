"""Losses, optimiser, the loop over epochs, and what it tells while it runs."""
