"""Annotated times: which label is heard in which file, from when to when."""
