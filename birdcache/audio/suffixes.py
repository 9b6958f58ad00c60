"""Names of audio files: which are looked at, and which hold sound that must be converted first.

A name only decides whether a file is looked at; its format is decided by its bytes (`birdcache.audio.validate`).
"""

import shlex
from collections.abc import Iterable

from birdcache.storage import AnyPath

_DECODED = "ogg oga opus wav wave bwf rf64 flac mp3 mp2 mpga aif aiff aifc caf"
AUDIO_EXTENSIONS = tuple(f".{name}" for name in _DECODED.split())
_FOREIGN = (
    "m4a m4b m4r m4v aac mp4 3gp 3g2 mov alac amr awb wma wmv asf avi mkv mka webm weba ac3 eac3 dts ape wv tta mpc "
    "tak spx ra rm dsf dff ogv ogx mpg mpeg mts vob flv gsm qcp shn ofr au snd w64"
)
FOREIGN = frozenset(f".{name}" for name in _FOREIGN.split())


def is_recording(path: AnyPath) -> bool:
    """True for the name of a file that can be decoded; names that begin with a dot are a system's own."""
    return path.suffix.lower() in AUDIO_EXTENSIONS and not path.name.startswith(".")


def is_foreign(path: AnyPath) -> bool:
    """True for the name of a file with sound that only a converter can read."""
    return path.suffix.lower() in FOREIGN and not path.name.startswith(".")


def conversion(folder: AnyPath, suffixes: Iterable[str]) -> str:
    """The command that converts all files of these suffixes in a folder, and in the folders in it, to FLAC."""
    names = " -o ".join(f"-iname '*{suffix}'" for suffix in sorted({suffix.lower() for suffix in suffixes}))
    return f"find {shlex.quote(str(folder))} \\( {names} \\) -exec ffmpeg -nostdin -n -i {{}} -vn {{}}.flac \\;"
