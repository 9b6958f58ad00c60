"""Scores of clips and recordings, what is made of them, and how good they are."""
