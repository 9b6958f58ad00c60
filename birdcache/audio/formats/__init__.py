"""The structure of audio files, format by format, read without a decoder.

Whatever is wrong with a file is raised as `RejectedAudio`; `birdcache.audio.validate.probe` names the codes.
"""
