"""DIMSE messages out of fragments (PS3.7 §6.3, PS3.8 Annex E): those of C-STORE ours, others not.

A C-STORE is read, stored and answered by the thread that reads its association, with the data set
as the bytes that came. Other messages are short: whole, they go to pynetdicom, which decodes them
and hands them to the association's other thread, so that a C-CANCEL is seen meanwhile.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import P_DATA

from app.dimse import commands, status
from app.dimse.pdus import ProtocolError
from app.dimse.received import ReceivedBytes

if TYPE_CHECKING:
    from pynetdicom.association import Association

_LONGEST_COMMAND = 2**16
_LONGEST_IDENTIFIER = 2**24
_COMMAND, _LAST = 1, 2


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """What may be held of one data set, and where the rest of it goes."""

    memory_bytes: int
    data_set_bytes: int
    directory: Path | None


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE request; `command` is its Command Set, for the answer."""

    command: Mapping[int, bytes]
    context_id: int
    transfer_syntax_uid: str
    data_set: ReceivedBytes

    @property
    def sop_class_uid(self) -> str:
        """The SOP Class that the request names."""
        return commands.text(self.command, commands.AFFECTED_SOP_CLASS_UID)

    @property
    def sop_instance_uid(self) -> str:
        """The Instance that the request names."""
        return commands.text(self.command, commands.AFFECTED_SOP_INSTANCE_UID)


@dataclass(frozen=True, slots=True)
class StoreResponse:
    """What a peer says of an Instance that was sent to it."""

    message_id: int
    status: int


Answer = tuple[int, str]
"""A status, and a comment on it."""
Store = Callable[[StoreRequest], Answer]
"""Stores one Instance."""
Refuses = Callable[[Mapping[int, bytes], int], Answer | None]
"""Returns why the message of a Command Set is not served in the context of an ID."""


class Messages(DIMSEServiceProvider):
    """What pynetdicom's provider does, on fragments that are never held as PDUs."""

    def __init__(
        self, assoc: "Association", limits: MessageLimits, store: Store, refuses: Refuses
    ) -> None:
        super().__init__(assoc)
        self._limits, self._store, self._refuses = limits, store, refuses
        self.steps = 0
        """Command Sets and data sets that have come to their end."""
        self._command = bytearray()
        self._values: Mapping[int, bytes] = {}
        self._context_id = 0
        self._data_set: ReceivedBytes | None = None
        self._refusal: Answer | None = None

    def take(self, context_id: int, control: int, piece: memoryview, ended: bool) -> None:
        """Take a piece of a fragment; `ended` says that it is the fragment's last one.

        Raises:
            ProtocolError: it cannot be part of a message here.
        """
        if control & _COMMAND:
            self._take_command(context_id, piece)
        else:
            self._take_data(context_id, piece)
        if not (ended and control & _LAST):
            return
        if control & _COMMAND:
            self._begin()
        else:
            self._end()
        self.steps += 1

    @property
    def is_between(self) -> bool:
        """Say whether no message has begun that has not ended."""
        return not self._command and self._data_set is None

    def forget(self) -> None:
        """Forget a message that will not come to its end."""
        if self._data_set is not None:
            self._data_set.close()

    def _take_command(self, context_id: int, piece: memoryview) -> None:
        if self._data_set is not None or (self._command and context_id != self._context_id):
            raise ProtocolError("a Command Set within another message")
        if len(self._command) + len(piece) > _LONGEST_COMMAND:
            raise ProtocolError(f"a Command Set of more than {_LONGEST_COMMAND} bytes")
        self._context_id = context_id
        self._command += piece

    def _take_data(self, context_id: int, piece: memoryview) -> None:
        if self._data_set is None or context_id != self._context_id:
            raise ProtocolError("a data set that no Command Set announced")
        if self._refusal is None:
            self._data_set.write(piece)

    def _begin(self) -> None:
        self._values = commands.read_command(self._command)
        if self._context_id not in self.assoc._accepted_cx:
            raise ProtocolError(f"a message of Presentation Context {self._context_id}")
        self._refusal = self._refuses(self._values, self._context_id)
        if commands.number(self._values, commands.DATA_SET_TYPE) == commands.NO_DATA_SET:
            if self._is_store and self._refusal is None:
                self._refusal = status.CANNOT_UNDERSTAND, "a C-STORE without a data set"
            self._serve(None)
            return
        limits, longest = self._limits, _LONGEST_IDENTIFIER
        if self._is_store:
            longest = limits.data_set_bytes
        self._data_set = ReceivedBytes(min(limits.memory_bytes, longest), longest, limits.directory)

    @property
    def _is_store(self) -> bool:
        return commands.number(self._values, commands.COMMAND_FIELD) == commands.C_STORE_RQ

    def _end(self) -> None:
        data_set = self._data_set
        if data_set is None:
            raise ProtocolError("the end of a data set that has not begun")
        self._data_set = None
        try:
            self._serve(data_set)
        finally:
            data_set.close()

    def _serve(self, data_set: ReceivedBytes | None) -> None:
        if self._refusal is not None:
            self._refuse(*self._refusal)
        elif data_set is None:
            self._hand_over(None)
        elif self._is_store:
            self._serve_store(data_set)
        elif data_set.trouble:
            raise ProtocolError(f"an Identifier that is {data_set.trouble}")
        else:
            self._hand_over(data_set.whole())

    def _refuse(self, code: int, comment: str) -> None:
        self._command.clear()
        self._answer(commands.status_response(self._values, code, comment))

    def _serve_store(self, data_set: ReceivedBytes) -> None:
        context = self.assoc._accepted_cx[self._context_id]
        syntax = str(context.transfer_syntax[0])
        request = StoreRequest(self._values, self._context_id, syntax, data_set)
        self._command.clear()
        code, comment = self._store(request)
        self._answer(commands.status_response(request.command, code, comment))

    def _answer(self, response: bytes) -> None:
        if (socket := self.dul.socket) is not None:
            socket.send(commands.command_pdu(self._context_id, response))

    def _hand_over(self, data_set: bytes | None) -> None:
        values = self._values
        if commands.number(values, commands.COMMAND_FIELD) == commands.C_STORE_RSP:
            self._command.clear()
            message_id = commands.number(values, commands.RESPONDED_TO)
            response = StoreResponse(message_id, commands.number(values, commands.STATUS))
            self.msg_queue.put((self._context_id, cast("Any", response)))
            return
        if commands.MESSAGE_ID in values:  # a request: what cancels it has not come yet
            self.cancel_req.pop(commands.number(values, commands.MESSAGE_ID), None)
        primitive = P_DATA()
        fragments = primitive.presentation_data_value_list
        fragments.append((self._context_id, b"\x03" + bytes(self._command)))
        if data_set is not None:
            fragments.append((self._context_id, b"\x02" + data_set))
        self._command.clear()
        self.receive_primitive(primitive)
