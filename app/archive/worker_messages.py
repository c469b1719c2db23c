"""How jobs and answers pass between the pool and a worker: a pickle, and large bytes beside it.

A message is two lengths, a pickle, and the large bytes, which it names by their place: they are not
copied into it nor out of it. Extents of objects are not even read: the descriptors of their files
go along, and the worker reads for itself. Answers are read by a reader that knows `DecodedFrame`
and plain values only, since a worker that works on hostile input is not trusted.
"""

import io
import os
import pickle
import struct
from collections.abc import Sequence
from typing import Any

from app.dicom.pixel_description import DecodedFrame
from app.objects.extents import Extent

HEAD = struct.Struct("<QQ")
"""Bytes of the pickle, bytes beside it."""
MOST_EXTENTS = 8
_LARGE = 4096


class _Writer(pickle.Pickler):
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self.beside: list[bytes] = []
        self.descriptors: list[int] = []
        self._offset = 0

    def persistent_id(self, value: Any, /) -> tuple[int, ...] | None:
        if type(value) is Extent:
            self.descriptors.append(value.file.fd)
            return (value.offset, value.length, len(self.descriptors) - 1)
        if type(value) is not bytes or len(value) < _LARGE:
            return None
        place = (self._offset, len(value))
        self.beside.append(value)
        self._offset += len(value)
        return place


class _Reader(pickle.Unpickler):
    def __init__(self, message: memoryview, pickled: int, descriptors: Sequence[int] = ()) -> None:
        super().__init__(io.BytesIO(message[:pickled]))
        self._beside = message[pickled:]
        self._descriptors = descriptors

    def persistent_load(self, place: Any, /) -> bytes:
        offset, length, *descriptor = place
        if descriptor:
            return _read_extent(self._descriptors[descriptor[0]], offset, length)
        return bytes(self._beside[offset : offset + length])


class _AnswerReader(_Reader):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) == (DecodedFrame.__module__, DecodedFrame.__name__):
            return DecodedFrame
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is not an answer")


class Unreadable(Exception):
    """An extent of an object has not the bytes that it should have."""


def _read_extent(descriptor: int, offset: int, length: int) -> bytes:
    try:
        data = os.pread(descriptor, length, offset)
        while len(data) < length:  # one call returns at most 2 GiB
            more = os.pread(descriptor, length - len(data), offset + len(data))
            if not more:
                raise Unreadable
            data += more
    except OSError as fault:
        raise Unreadable from fault
    return data


def write(value: object) -> tuple[list[bytes], list[int]]:
    """Return the pieces of a message, to be sent one after the other, and what goes with the first.

    That is descriptors, up to `MOST_EXTENTS`, which are open as long as `value` is referred to.
    """
    stream = io.BytesIO()
    writer = _Writer(stream)
    writer.dump(value)
    pickled = stream.getvalue()
    head = HEAD.pack(len(pickled), sum(map(len, writer.beside)))
    return [head + pickled, *writer.beside], writer.descriptors


def read(message: bytearray, pickled: int, descriptors: Sequence[int] = ()) -> Any:
    """Return what our own side has written; `pickled` of the bytes are the pickle.

    Raises:
        Unreadable: an extent of an object is damaged.
    """
    return _Reader(memoryview(message), pickled, descriptors).load()


def read_answer(message: bytearray, pickled: int) -> tuple[str, Any]:
    """Return the word and the value of an answer.

    Raises:
        EOFError: it is none.
    """
    try:
        word, value = _AnswerReader(memoryview(message), pickled).load()
    except Exception as fault:  # bytes of a process gone wrong may raise anything
        raise EOFError from fault
    return str(word), value
