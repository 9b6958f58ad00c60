"""The structure of audio files, format by format, read without a decoder."""
