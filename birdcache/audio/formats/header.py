"""The facts in an audio file's header, and their bounds in every format."""

from dataclasses import dataclass, field

from birdcache.audio.formats.pieces import Reading
from birdcache.audio.notes import Note
from birdcache.audio.rejected import RejectedAudio

LOWEST_HZ, HIGHEST_HZ = 8_000, 500_000
MOST_CHANNELS = 8
LONGEST_S = 7 * 24 * 3600  # no recording lasts a week: a number above is a broken one


@dataclass(frozen=True)
class AudioHeader:
    """Facts in a file's own structure, read without a decoder. Whatever a file says, they are within bounds."""

    sample_rate_hz: int
    channels: int
    # samples of each channel at `sample_rate_hz`; a sound may have fewer (it need not begin at time 0), not more
    frames: int
    ended: bool = True  # whether the file says where it ends. What is there may be sound, but nobody knows if it is all
    notes: tuple[Note, ...] = ()  # what is odd about the file, and harmless
    reading: Reading | None = None  # what libsndfile reads instead of the file itself
    # "", or a word for how it is read where versions before 1.2 read such files otherwise: with their other sound
    # under the same key, nobody would notice
    read_as: str = ""
    # all that decides whether libsndfile opens the file and sees as many frames; b"" where that is not known
    opening: bytes = field(default=b"", compare=False)
    comment: str = field(default="", compare=False)  # what the recorder says of place and time, in its own words

    def __post_init__(self) -> None:
        check_shape(self.sample_rate_hz, self.channels)
        check_length(self.frames, self.sample_rate_hz)


def check_shape(sample_rate_hz: int, channels: int) -> None:
    """Refuse rates and channels that no field recording has, before anything is computed from them."""
    if sample_rate_hz == 0 or channels == 0:
        raise RejectedAudio("damaged", f"its header says {sample_rate_hz} Hz and {channels} channels")
    if not LOWEST_HZ <= sample_rate_hz <= HIGHEST_HZ:
        raise RejectedAudio("wrong-codec", f"{sample_rate_hz} Hz is not within {LOWEST_HZ} to {HIGHEST_HZ} Hz")
    if channels > MOST_CHANNELS:
        raise RejectedAudio("wrong-codec", f"has {channels} channels, more than {MOST_CHANNELS}")


def check_length(frames: int, sample_rate_hz: int) -> None:
    """Refuse no samples, or more than a week of them."""
    if frames <= 0:
        raise RejectedAudio("empty", "holds no samples")
    seconds = frames / sample_rate_hz
    if seconds > LONGEST_S:
        raise RejectedAudio("too-long", f"promises {seconds:.3g} s, more than a week", "cut or remove it")
