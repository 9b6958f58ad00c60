"""Audio files: header, content hash, and the waveform at one sample rate.

Axes: S sample, C channel. A file passes the checks of `birdcache.audio.validate` before libsndfile sees a byte of
it, and what comes out is checked again. `RejectedAudio` is raised for a file that cannot be read, has changed, fails
validation or does not decode to what it promises; it names the file, the rule and the way out.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from birdcache.arrays import Floats32
from birdcache.audio.formats.header import AudioHeader, check_length, check_shape
from birdcache.audio.formats.pieces import Pieces, Reading
from birdcache.audio.mixing import Mixing, channel_of, mean_of_channels
from birdcache.audio.notes import Note
from birdcache.audio.paths import kind_of
from birdcache.audio.rejected import RejectedAudio
from birdcache.audio.samples import SampleCheck
from birdcache.audio.validate import probe
from birdcache.storage import AnyPath, reaching

BLOCK_SAMPLES = 2**17  # decoded at a time: stays in the processor's cache; the waveform does not depend on it
WHOLE = Reading(())
_GOOD_OPENINGS: set[bytes] = set()  # of headers: libsndfile takes most of a millisecond for a Vorbis file's codebooks
RESAMPLER_QUALITY = "HQ"
DECODER_VERSION = (
    f"libsndfile {soundfile.__libsndfile_version__}, "
    f"soxr {soxr.__libsoxr_version__} {RESAMPLER_QUALITY}, mean of channels"
)
SCORING_VERSION = f"{DECODER_VERSION}, cancelling channels"  # of scores that are kept; keys have `AudioInfo.read_as`


@dataclass(frozen=True)
class AudioInfo:
    """Facts of an audio file: `ended` if it says where, `notes` of what is odd and harmless, and `read_as`, a part of
    its key: "", or how it is read, as its header and `birdcache.audio.mixing` say; and a recorder's `comment`.
    """

    duration_s: float
    sample_rate_hz: int
    channels: int
    frames: int
    ended: bool = True
    notes: tuple[Note, ...] = ()
    read_as: str = ""
    comment: str = ""


def read_info(path: Path) -> AudioInfo:
    """Duration, sample rate and channels of an audio file, without decoding it."""
    with _opened(path, path) as file:
        header = probe(file)
        if header.opening in _GOOD_OPENINGS:
            return _facts(header, header.frames, header.sample_rate_hz)
        with _open_audio(file, header) as audio:
            info = _info(audio, header)
        _GOOD_OPENINGS.update({header.opening} - {b""})
        return info


def mixed_as(path: Path) -> str:
    """How the channels become one: "" by their mean, else as `birdcache.audio.mixing` says. All is decoded."""
    with _opened(path, path) as file, _open_audio(file, probe(file)) as audio:
        mixing = Mixing(audio.channels)
        with suppress(soundfile.SoundFileError):  # told when it is read
            while len(samples_SC := audio.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)):
                mixing.take(samples_SC)
        return mixing.read_as()


@contextmanager
def naming_rejections(path: AnyPath) -> Iterator[None]:
    """Name the file in rejections, and turn an OSError about it into one."""
    try:
        yield
    except RejectedAudio as rejected:
        rejected.file = rejected.file or str(path)
        raise
    except OSError as error:
        raise RejectedAudio("unreadable", f"cannot be read ({error.strerror or error})", file=str(path)) from error


@contextmanager
def _opened(local: Path, path: AnyPath) -> Iterator[FileIO]:
    """The file, unbuffered: libsndfile reads through its descriptor, whose place a buffer would hide."""
    with naming_rejections(path):
        if kind := kind_of(local.stat().st_mode):  # to open or read one may wait for ever, or do what nobody asked for
            raise RejectedAudio("unreadable", f"is {kind}, not a file", "leave it out")
        with local.open("rb", buffering=0) as file:
            yield file


def content_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with _opened(path, path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def waveform_blocks(
    path: AnyPath,
    sample_rate_hz: int | None,
    sha256: str | None = None,
    lead: int = 0,
    silence: bool = False,
    read_as: str | None = None,
    most: int | None = None,
) -> Iterator[Floats32]:
    """Decode a file, mix its channels to one (`birdcache.audio.mixing`) and resample it.

    Parameters
    ----------
    path : local or remote; it is fetched or opened once, so what is hashed is what is decoded.
    sample_rate_hz : the rate to resample to (soxr, high quality); None for the file's own.
    sha256 : the content that stage `recordings` saw, or None to accept any.
    lead : room for so many other samples in front of each piece, so that the front end need not copy it.
    silence : whether it may be silent.
    read_as : as of `AudioInfo`, or None to find it out, by decoding twice.
    most : samples of a block at the file's own rate; None for `BLOCK_SAMPLES`.

    Yields
    ------
    (lead + S,) float32, nominally within +-1, S about `most` and round(frames * sample_rate_hz / the file's
    rate) in all. A refusal of what decodes comes where it occurs, after the good pieces before it.
    """
    with fetched(path) as local, _opened(local, path) as file:
        if sha256 is not None and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise RejectedAudio("changed", "has changed since stage `recordings` read it")
        header = probe(file)
        if read_as is None:
            read_as = mixed_as(local) if header.channels > 1 else ""
        with _open_audio(file, header) as audio:
            info = _info(audio, header)
            wanted_hz = info.sample_rate_hz if sample_rate_hz is None else sample_rate_hz
            check = SampleCheck(info.frames, silence)
            room = lead if info.sample_rate_hz == wanted_hz else 0
            facts = info.frames, most or BLOCK_SAMPLES, header.reading or WHOLE
            checked = _checked(audio, check, *facts, room, channel_of(read_as))
            if info.sample_rate_hz == wanted_hz:
                yield from checked
            else:
                blocks = _resampled(checked, info, wanted_hz)
                yield from (np.concatenate([np.empty(lead, np.float32), block_S]) for block_S in blocks)


def sound_sha256(
    path: AnyPath, sha256: str | None = None, samples: int | None = None, read_as: str | None = None
) -> str:
    """SHA-256 of a recording's samples: its channels mixed to one at its own rate, as float32; -0 counts as 0.

    Parameters
    ----------
    sha256 : the file's bytes as they were seen before, or None to accept any.
    samples : so many from its beginning, or None for all.
    read_as : as of `AudioInfo`, or None to find it out.
    """
    digest = hashlib.sha256()
    blocks = waveform_blocks(path, None, sha256, silence=True, read_as=read_as, most=samples)
    for block_S in islice(blocks, None if samples is None else 1):
        digest.update((block_S + np.float32(0)).astype("<f4").tobytes())
    return digest.hexdigest()


@contextmanager
def fetched(path: AnyPath) -> Iterator[Path]:
    """The file on this machine: itself, or a temporary copy of a remote one, fetched whole and once.

    A RejectedAudio if there is no such remote file. A StoreError if its service cannot be reached: that is no fault of
    the file, which must not be left out for it.
    """
    if isinstance(path, Path):
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="birdcache-", suffix=path.suffix) as copy:
        with naming_rejections(path), reaching(path):
            path.fs.get_file(path.path, copy.name)
        yield Path(copy.name)


def resampled_length(frames: int, rate_hz: int, sample_rate_hz: int) -> int:
    """Number of samples of `frames` samples at `rate_hz` once resampled: rounded to the nearest, at least one."""
    return max(1, (2 * frames * sample_rate_hz + rate_hz) // (2 * rate_hz))


def _resampled(blocks: Iterator[Floats32], info: AudioInfo, sample_rate_hz: int) -> Iterator[Floats32]:
    stream = soxr.ResampleStream(info.sample_rate_hz, sample_rate_hz, 1, dtype="float32", quality=RESAMPLER_QUALITY)
    missing = resampled_length(info.frames, info.sample_rate_hz, sample_rate_hz)
    for block_S in blocks:
        piece_S = stream.resample_chunk(block_S)[:missing]
        missing -= len(piece_S)
        yield piece_S
    end_S = stream.resample_chunk(np.empty(0, np.float32), last=True)[:missing]
    yield np.concatenate([end_S, np.zeros(missing - len(end_S), np.float32)])


def _checked(
    audio: Any, check: SampleCheck, frames: int, most: int, reading: Reading, lead: int, channel: int | None
) -> Iterator[Floats32]:
    """Decode (room + S,) blocks, and check that they are what the file promises, and that nothing follows."""
    try:
        audio.read(reading.skipped)
        while frames > 0 and len(block_S := _mono_block(audio, lead, min(frames, most), channel)) > lead:
            check.take(block_S[lead:])
            frames -= len(block_S) - lead
            yield block_S
        surplus = len(audio.read(reading.surplus + 1))
    except soundfile.SoundFileError as error:
        raise RejectedAudio("damaged", f"breaks off while decoding ({_reason(error)})") from error
    check.finish()
    if surplus != reading.surplus:
        raise RejectedAudio("damaged", f"{surplus} samples follow its sound, where {reading.surplus} were counted")


def _mono_block(audio: Any, lead: int, most: int, channel: int | None) -> Floats32:
    """The next samples, the mean of their channels or one of these, behind `lead` unused ones."""
    block_S = np.empty(lead + most, np.float32)
    if audio.channels == 1:
        return block_S[: lead + len(audio.read(out=block_S[lead:]))]
    samples_SC = audio.read(most, dtype="float32", always_2d=True)
    if channel is None:
        mean_of_channels(samples_SC, block_S[lead : lead + len(samples_SC)])
    else:
        block_S[lead : lead + len(samples_SC)] = samples_SC[:, channel]
    return block_S[: lead + len(samples_SC)]


class _Stream(soundfile.SoundFile):  # type: ignore[misc]
    """Sound that is read from its beginning to its end.

    Where it can, soundfile seeks after each read, to where it is; libmpg123 then loses the bits that frames of a low
    rate keep for later ones, and each block begins with noise.
    """

    def seekable(self) -> bool:
        """False."""
        return False


def _open_audio(file: Any, header: AudioHeader) -> Any:
    file.seek(0)
    try:
        if header.reading is not None:
            told: dict[str, Any] = {}
            if header.reading.raw:  # samples without a header
                told = dict(zip(("subtype", "endian"), header.reading.raw, strict=True), format="RAW")
                told |= {"samplerate": header.sample_rate_hz, "channels": header.channels}
            return _Stream(Pieces(file, header.reading), **told)
        return _Stream(file.fileno(), closefd=False)
    except soundfile.SoundFileError as error:
        raise RejectedAudio("damaged", f"libsndfile cannot open it ({_reason(error)})") from error


def _info(audio: Any, header: AudioHeader) -> AudioInfo:
    """Facts as libsndfile sees them, which must not be more than validation has seen."""
    frames, rate_hz, channels = int(audio.frames), int(audio.samplerate), int(audio.channels)
    if header.reading is not None:
        reading = header.reading  # what libsndfile says of a stretched file is a guess
        frames = header.frames if reading.stretched else frames - reading.skipped - reading.surplus
    check_shape(rate_hz, channels)
    check_length(frames, rate_hz)
    duration_s = frames / rate_hz
    too_long = duration_s > header.frames / header.sample_rate_hz + 1 / rate_hz
    if channels != header.channels or too_long:
        raise RejectedAudio(
            "damaged", f"decodes as {channels} channels and {duration_s:.6g} s, which its structure denies"
        )
    return _facts(header, frames, rate_hz)


def _facts(header: AudioHeader, frames: int, rate_hz: int) -> AudioInfo:
    facts = frames / rate_hz, rate_hz, header.channels, frames
    return AudioInfo(*facts, header.ended, header.notes, header.read_as, header.comment)


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
