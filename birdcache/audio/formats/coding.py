"""How sound lies in a file: the samples' kind and size, as every container names them in its own way."""

from dataclasses import dataclass

from birdcache.audio.formats.chunks import Extent
from birdcache.audio.formats.header import AudioHeader, check_shape
from birdcache.audio.formats.pieces import Reading
from birdcache.audio.notes import Note
from birdcache.audio.rejected import RejectedAudio

INTEGER, UNSIGNED, FLOAT, MU_LAW, A_LAW = "integer", "unsigned integer", "float", "mu-law", "A-law"
SUBTYPES = {
    (UNSIGNED, 1): "PCM_U8",
    **{(INTEGER, 1): "PCM_S8", (INTEGER, 2): "PCM_16", (INTEGER, 3): "PCM_24", (INTEGER, 4): "PCM_32"},
    **{(FLOAT, 4): "FLOAT", (FLOAT, 8): "DOUBLE", (MU_LAW, 1): "ULAW", (A_LAW, 1): "ALAW"},
}
IN_FOUR = 3  # bytes of a sample that some recorders put into four, its last one empty


@dataclass(frozen=True)
class Coding:
    """Samples of a kind: `unit_bytes` hold one of each channel; subtype and order are libsndfile's names for them."""

    sample_rate_hz: int
    channels: int
    unit_bytes: int
    subtype: str
    order: str

    @property
    def second_bytes(self) -> int:
        """Bytes of a second."""
        return self.sample_rate_hz * self.unit_bytes

    def header(self, extent: Extent, told: int = 0) -> AudioHeader:
        """The header of sound that lies there; `told` is its number of frames as the file says, or 0."""
        frames = (extent.end - extent.start) // self.unit_bytes
        notes = extent.notes
        if told and frames != told and extent.ended:
            notes += (Note("wrong-length", f"says {told} samples, but {frames} are there and read"),)
        span = (extent.start, extent.start + frames * self.unit_bytes)
        reading = Reading((span,), raw=(self.subtype, self.order))
        return AudioHeader(self.sample_rate_hz, self.channels, frames, extent.ended, notes, reading, extent.read_as)


def plain(rate_hz: int, channels: int, kind: str, bits: int, unit_bytes: int = 0, order: str = "LITTLE") -> Coding:
    """The coding of samples of a fixed number of bits; `unit_bytes` of all channels, 0 if the file does not say."""
    check_shape(rate_hz, channels)
    width = 1 if kind in (MU_LAW, A_LAW) else -(-bits // 8)
    unit_bytes = unit_bytes or channels * width
    if width == IN_FOUR and unit_bytes == 4 * channels:
        width = 4
    if not width or unit_bytes != channels * width:
        raise RejectedAudio("damaged", f"{channels} channels of {bits} bits do not make {unit_bytes} bytes")
    subtype = SUBTYPES.get((INTEGER if kind == UNSIGNED and width > 1 else kind, width))
    if subtype is None:
        raise RejectedAudio("wrong-codec", f"holds {kind} samples of {bits} bits")
    return Coding(rate_hz, channels, unit_bytes, subtype, order)
