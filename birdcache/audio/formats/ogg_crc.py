"""The checksum of Ogg pages, at the speed of zlib."""

import zlib

MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
BEGIN = 0xFFFFFFFF
ZEROS = bytes(4)


def ogg_checksum(page: bytes | bytearray) -> int:
    """CRC-32 as Ogg has it: polynomial 0x04c11db7, highest bit first, starting at zero, not inverted.

    zlib has the same polynomial lowest bit first, starting at and inverted by 0xffffffff; so each byte goes in
    mirrored, and the sum comes out mirrored.
    """
    mirrored = zlib.crc32(page.translate(MIRRORED), BEGIN) ^ BEGIN
    return int(f"{mirrored:032b}"[::-1], 2)


def is_intact(mirrored: memoryview, start: int, end: int) -> bool:
    """True if the page from `start` to `end` has the checksum that it names, its bytes being mirrored already.

    The checksum at bytes 22 to 25 is taken with zeros in its own place. Mirrored byte by byte, the little-endian
    number there is the mirrored sum in big-endian order.
    """
    crc = zlib.crc32(mirrored[start : start + 22], BEGIN)
    crc = zlib.crc32(mirrored[start + 26 : end], zlib.crc32(ZEROS, crc)) ^ BEGIN
    return crc == int.from_bytes(mirrored[start + 22 : start + 26], "big")
