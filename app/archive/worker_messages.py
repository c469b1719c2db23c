"""How jobs and answers pass between the pool and a worker: a pickle, and large bytes beside it.

A message is two lengths, a pickle, and the large bytes, which it names by their place: they are not
copied into it nor out of it. Answers are read by a reader that knows `DecodedFrame` and plain
values only, since a worker that works on hostile input is not trusted.
"""

import io
import pickle
import struct
from typing import Any

from app.dicom.pixel_description import DecodedFrame

HEAD = struct.Struct("<QQ")
"""Bytes of the pickle, bytes beside it."""
_LARGE = 4096


class _Writer(pickle.Pickler):
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self.beside: list[bytes] = []
        self._offset = 0

    def persistent_id(self, value: Any, /) -> tuple[int, int] | None:
        if type(value) is not bytes or len(value) < _LARGE:
            return None
        place = (self._offset, len(value))
        self.beside.append(value)
        self._offset += len(value)
        return place


class _Reader(pickle.Unpickler):
    def __init__(self, message: memoryview, pickled: int) -> None:
        super().__init__(io.BytesIO(message[:pickled]))
        self._beside = message[pickled:]

    def persistent_load(self, place: Any, /) -> bytes:
        offset, length = place
        return bytes(self._beside[offset : offset + length])


class _AnswerReader(_Reader):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) == (DecodedFrame.__module__, DecodedFrame.__name__):
            return DecodedFrame
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is not an answer")


def write(value: object) -> list[bytes]:
    """Return the pieces of a message, to be sent one after the other."""
    stream = io.BytesIO()
    writer = _Writer(stream)
    writer.dump(value)
    pickled = stream.getvalue()
    head = HEAD.pack(len(pickled), sum(map(len, writer.beside)))
    return [head + pickled, *writer.beside]


def read(message: bytearray, pickled: int) -> Any:
    """Return what our own side has written; `pickled` of the bytes are the pickle."""
    return _Reader(memoryview(message), pickled).load()


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
