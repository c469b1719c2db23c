"""Errors in words; what a status code or a DIMSE status is, each protocol says in its own table.

    ArchiveError
    ├── Unauthenticated, Forbidden
    ├── NotFound              no such resource, or none this caller may see
    ├── Gone                  known to be deleted, and the caller could see it
    │   └── Superseded        a place in the log of an index that was replaced by another one
    ├── Conflict              the state does not allow it
    │   ├── Duplicate         something else has this UID already
    │   └── Final             it has come to its end, and does not change any more
    ├── Changed               the state is not the one that the request is conditional on
    ├── InvalidRequest        InvalidUID, InvalidQuery, InvalidMultipart
    │                         MissingAttribute, InvalidAttribute
    ├── NotAcceptable         no media type or transfer syntax that the caller accepts
    ├── UnsupportedMediaType, TooLarge, TooMany
    ├── StorageFull           A7xx
    ├── InvalidDataset        carries a Failure Reason (0008,1197)
    └── Unavailable           index, object store or worker does not answer
        ├── Busy              there is as much to do as can be done at once
        └── Damaged           bytes are lost, and no store has them whole

Messages are for the caller: plain words that say what was expected. They carry UIDs, never names
or other patient data, and no path, SQL or stack.
"""

from collections.abc import Sequence


class ArchiveError(Exception):
    """Base of all errors that are raised in words."""


class Unauthenticated(ArchiveError):
    """Nobody that this server knows is asking. `challenges` say how a caller may show who it is.

    `user` is the tenant and the name of a user whose password it was not.
    """

    challenges: Sequence[str] = ()
    user: tuple[int, str] | None = None


class Forbidden(ArchiveError):
    """The caller is known and may not do this."""


class NotFound(ArchiveError):
    """No such resource, or none that this caller may see."""

    def __init__(self, level: str, uid: str) -> None:
        super().__init__(f"{level} {uid} not found")
        self.level, self.uid = level, uid


class Gone(ArchiveError):
    """The resource is known to be deleted, and the caller could see it."""

    def __init__(self, level: str, uid: str, how: str = "was deleted") -> None:
        super().__init__(f"{level} {uid} {how}")


class Superseded(Gone):
    """A place in the log that this log does not reach: the index was restored or made anew."""

    def __init__(self, place: str) -> None:
        how = (
            "is not in this archive's log: its index was restored from a backup, or made anew. "
            "Begin again without since"
        )
        super().__init__("Position", place, how)


class Conflict(ArchiveError):
    """The present state does not allow it."""


class Duplicate(Conflict):
    """Something has this UID already."""


class Final(Conflict):
    """It has come to its end, and does not change any more."""


class Changed(ArchiveError):
    """The resource is not in the state that the request is conditional on."""


class InvalidRequest(ArchiveError):
    """The request cannot be understood as it stands."""


class InvalidUID(InvalidRequest):
    """Not a UID of PS3.5 §9.1."""


class InvalidQuery(InvalidRequest):
    """A query parameter is malformed."""


class InvalidMultipart(InvalidRequest):
    """The body is not the multipart that its Content-Type promises."""


class MissingAttribute(InvalidRequest):
    """A Data Set lacks an attribute, or its value."""


class InvalidAttribute(InvalidRequest):
    """An attribute of a Data Set has a value that it may not have here."""


class NotAcceptable(ArchiveError):
    """Nothing that the caller accepts can be made; `offered` lists what could."""

    def __init__(self, message: str, offered: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.offered = tuple(offered)


class UnsupportedMediaType(ArchiveError):
    """The body's media type is not understood here."""


class TooLarge(ArchiveError):
    """A request or its answer is over a limit."""


class TooMany(ArchiveError):
    """The caller asks too often or for too many at once; after `seconds` it may ask again."""

    def __init__(self, message: str, seconds: int = 5) -> None:
        super().__init__(message)
        self.seconds = seconds


class StorageFull(ArchiveError):
    """No room for the bytes; nothing was kept."""


class Unavailable(ArchiveError):
    """The index, the object store or a worker does not answer; asking again later may help."""


class Busy(Unavailable):
    """There is as much to do as can be done at once; nothing was begun."""


class Damaged(Unavailable):
    """The bytes that were stored are lost or damaged everywhere; sending them again mends it."""


class InvalidDataset(ArchiveError):
    """An Instance cannot be kept. `reason` is the Failure Reason (0008,1197), PS3.18 Annex I."""

    def __init__(self, message: str, reason: int = 0xC000) -> None:
        super().__init__(message)
        self.reason = reason
        self.uids = ("", "")
        """SOP Class and SOP Instance UID, where they are known before the Data Set is read."""
