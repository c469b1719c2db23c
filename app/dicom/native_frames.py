"""Frames that are no plain range of little-endian bytes: bits, big endian, several fragments."""

import struct

import numpy as np

from app.errors import InvalidDataset

_ITEM = b"\xfe\xff\x00\xe0"


def bit_range(frame_number: int, bits: int) -> tuple[int, int, int]:
    """Return where a frame of `bits` one-bit pixels lies: first byte, bytes, and bits to skip.

    `frame_number` is 1-based; frames follow each other without padding.

    Source: PS3.5 §8.1.1
    """
    first = (frame_number - 1) * bits
    offset, skip = divmod(first, 8)
    return offset, (skip + bits + 7) // 8, skip


def frame_of_bits(data: bytes, skip: int, bits: int) -> bytes:
    """Return one frame of one-bit pixels, its first pixel in the lowest bit of the first byte.

    `data` is the range that `bit_range` names. The last byte is padded with zero bits.

    Source: PS3.5 §8.1.1, Annex D
    """
    unpacked = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    return np.packbits(unpacked[skip : skip + bits], bitorder="little").tobytes()


WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
"""Bytes of a word by VR, where it is more than one (PS3.5 §6.2, §7.3)."""


def swap_words(data: bytes, word: int) -> bytes:
    """Turn big-endian words of 2, 4 or 8 bytes into little-endian ones; whole words only.

    Source: PS3.5 §7.3
    """
    return np.frombuffer(data, f">u{word}").astype(f"<u{word}").tobytes()


def swap_whole_words(data: bytes, word: int) -> bytes:
    """Turn the big-endian words of a value into little-endian ones; what is left over stays.

    Source: PS3.5 §7.3
    """
    whole = len(data) - len(data) % word
    return data if word == 1 else swap_words(data[:whole], word) + data[whole:]


def pixel_word(vr: str, bits_allocated: int) -> int:
    """Return how many bytes of native Pixel Data are one word of its byte order.

    Pixels of one byte in OW are pairs in a word.

    Source: PS3.5 §8.1.1, §7.3
    """
    if vr == "OB":
        return 1
    return max(bits_allocated // 8, 2)


def join_fragments(items: bytes) -> bytes:
    """Return the bytes of a frame's fragments without the item headers between them.

    `items` begins with the first fragment's bytes: the header before it is left out, so its length
    is what precedes the next header; `items` is therefore given with its first header.

    Raises:
        InvalidDataset: the bytes are not a run of items.

    Source: PS3.5 §A.4
    """
    parts, position = [], 0
    while position < len(items):
        if items[position : position + 4] != _ITEM or position + 8 > len(items):
            raise InvalidDataset("A frame's fragments are not items")
        (length,) = struct.unpack_from("<I", items, position + 4)
        parts.append(items[position + 8 : position + 8 + length])
        position += 8 + length
    return b"".join(parts)
