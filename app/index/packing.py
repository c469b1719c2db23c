"""How the index keeps Metadata: one small zstd frame for each Instance.

The Instances of a Series differ in little, so the Series' first JSON is the dictionary for all of
them (raw content, itself packed). A CT header of 8 KB of JSON becomes some 300 bytes.
"""

from collections.abc import Callable
from functools import lru_cache

from zstandard import DICT_TYPE_RAWCONTENT, ZstdCompressionDict, ZstdCompressor, ZstdDecompressor

LEVEL = 3
DICTIONARY_BYTES = 2**17
"""A longer JSON (an enhanced multi-frame object's) gives only its end to the dictionary."""
SMALLEST_DICTIONARY = 8


def make_dictionary(metadata: bytes) -> bytes:
    """Return the dictionary, packed, that a Series gets from its first Instance's JSON."""
    return ZstdCompressor(level=LEVEL).compress(metadata[-DICTIONARY_BYTES:])


def metadata_packer(dictionary: bytes) -> Callable[[bytes], bytes]:
    """Return the function that packs the JSON of a Series' Instances.

    It belongs to one thread; making it costs little while the dictionary is remembered.
    """
    return ZstdCompressor(level=LEVEL, dict_data=_prepared(dictionary)).compress


def metadata_unpacker(dictionary: bytes) -> Callable[[bytes], bytes]:
    """Return the function that gives back the JSON of a Series' Instances; for one thread."""
    return ZstdDecompressor(dict_data=_prepared(dictionary)).decompress


def unpack_metadata(dictionary: bytes, packed: bytes) -> bytes:
    """Return the JSON of one Instance; `dictionary` is its Series' `metadata_dictionary`."""
    return metadata_unpacker(dictionary)(packed)


@lru_cache(maxsize=64)
def _prepared(dictionary: bytes) -> ZstdCompressionDict | None:
    raw = ZstdDecompressor().decompress(dictionary)
    if len(raw) < SMALLEST_DICTIONARY:  # zstd takes no shorter one
        return None
    prepared = ZstdCompressionDict(raw, dict_type=DICT_TYPE_RAWCONTENT)
    prepared.precompute_compress(level=LEVEL)
    return prepared
