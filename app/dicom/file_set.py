"""A DICOMDIR for Instances of one Study: the directory of a medium, or of a zip that is like one.

The order of use: a `FileSet`; `name` each Instance, which gives the File ID that it is to have;
`add` each that was really written, with the Transfer Syntax that it has there; `directory`. Only
encoded records are held, some 300 bytes for each Instance.

Offsets count from the first byte of the file, so the length of every record has to be known before
the first is written: items have a defined length.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from struct import pack
from typing import Any

from app.dicom.document import Document
from app.dicom.file_meta import add_file_meta
from app.dicom.headers import ITEM
from app.dicom.json_dataset import encode_dataset
from app.dicom.limits import Limits
from app.dicom.media_directory import MEDIA_STORAGE_DIRECTORY
from app.dicom.record_types import record_keys, record_kind
from app.dicom.rewrite import element, element_header
from app.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN
from app.errors import InvalidDataset

_RECORDS = 0x00041220
_ITEM_HEADER = 8
_IN_USE = b"\xff\xff"
_NUMBERS = ("00200010", "00200011", "00200013")
"""Keys that have to have a value: Study ID, Series Number, Instance Number."""


@dataclass(frozen=True, slots=True)
class _Record:
    """One Directory Record: which file it is of, its keys, and the records below it."""

    kind: str
    keys: bytes
    file: bytes = b""
    below: "list[_Record]" = field(default_factory=list)

    def encoded(self, following: int, lower: int) -> bytes:
        """Encode its item; `following` and `lower` are offsets of other records."""
        content = b"".join(
            (
                element(0x00041400, "UL", pack("<L", following)),
                element(0x00041410, "US", _IN_USE),
                element(0x00041420, "UL", pack("<L", lower)),
                element(0x00041430, "CS", _even(self.kind, b" ")),
                self.file,
                self.keys,
            )
        )
        return pack("<HHL", ITEM >> 16, ITEM & 0xFFFF, len(content)) + content

    @property
    def size(self) -> int:
        """Bytes of its item, without the records below it."""
        return len(self.encoded(0, 0))

    @property
    def whole_size(self) -> int:
        """Bytes of its item and of all records below it."""
        return self.size + sum(record.whole_size for record in self.below)

    def written(self, offset: int, following: int) -> Iterator[bytes]:
        """Yield its item, which stands at `offset`, and the records below it."""
        position = offset + self.size
        yield self.encoded(following, position if self.below else 0)
        for record in self.below:
            end = position + record.whole_size
            yield from record.written(position, end if record is not self.below[-1] else 0)
            position = end


@dataclass(slots=True)
class _Series:
    record: _Record
    number: int
    named: int = 0


class FileSet:
    """The Instances of a Study, or of some of its Series, as they lie on a medium.

    Source: PS3.3 Annex F, PS3.10 §8; PS3.12 Annex V (in a zip)
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._patient: _Record | None = None
        self._series: dict[str, _Series] = {}
        self._named: dict[str, tuple[_Series, _Record]] = {}

    def name(self, metadata: Mapping[str, Any]) -> str:
        """Return the File ID of an Instance, its components with `/` between them.

        `metadata` is its DICOM JSON object. An Instance that is named twice has two files.

        Source: PS3.10 §8.2, §8.5 (components of eight characters, A to Z, 0 to 9 and _)
        """
        document = Document(metadata)
        if self._patient is None:
            study = self._record("STUDY", document, 1)
            self._patient = replace(self._record("PATIENT", document, 1), below=[study])
        series = self._series_of(document)
        series.named += 1
        file_id = f"DICOM/S{series.number:07}/I{series.named:07}"
        file = element(0x00041500, "CS", _even(file_id.replace("/", "\\"), b" "))
        file += element(0x00041510, "UI", _even(document.text("00080016")))
        file += element(0x00041511, "UI", _even(document.text("00080018")))
        record = self._record(record_kind(document), document, series.named)
        self._named[document.text("00080018")] = (series, replace(record, file=file))
        return file_id

    def _series_of(self, document: Document) -> _Series:
        uid = document.text("0020000E")
        if uid not in self._series:
            number = len(self._series) + 1
            self._series[uid] = _Series(self._record("SERIES", document, number), number)
        return self._series[uid]

    def add(self, sop_instance_uid: str, transfer_syntax_uid: str) -> None:
        """Take an Instance that was named into the directory, as it was written.

        Source: PS3.3 §F.3.2.2
        """
        series, record = self._named.pop(sop_instance_uid)
        syntax = element(0x00041512, "UI", _even(transfer_syntax_uid))
        series.record.below.append(replace(record, file=record.file + syntax))

    def directory(self, file_set_uid: str) -> Iterator[bytes]:
        """Yield the DICOMDIR.

        Source: PS3.3 §F.3, PS3.10 §8.6
        """
        meta = add_file_meta(MEDIA_STORAGE_DIRECTORY, file_set_uid, EXPLICIT_LITTLE_ENDIAN)
        patient = self._patient
        if patient is None:
            yield meta + _head(0, 0)
            return
        (study,) = patient.below
        series = [one.record for one in self._series.values() if one.record.below]
        patient = replace(patient, below=[replace(study, below=series)])
        first = len(meta) + len(_head(0, 0))
        yield meta + _head(first, patient.whole_size)
        yield from patient.written(first, 0)

    def _record(self, kind: str, document: Document, number: int) -> _Record:
        keys = record_keys(kind, document)
        for name in _NUMBERS:
            if name in keys and "Value" not in keys[name]:
                keys[name] = {"vr": keys[name]["vr"], "Value": [str(number)]}
        try:
            return _Record(kind, self._encoded(keys))
        except InvalidDataset:  # a value is none of its VR
            sound = {name: member for name, member in keys.items() if self._is_sound(name, member)}
            empty = {name: {"vr": member["vr"]} for name, member in keys.items()}
            return _Record(kind, self._encoded(empty | sound))

    def _encoded(self, keys: Mapping[str, Any]) -> bytes:
        elements = encode_dataset(keys, self._limits).elements.values()
        return b"".join(piece for one in elements for piece in one if isinstance(piece, bytes))

    def _is_sound(self, name: str, member: Mapping[str, Any]) -> bool:
        try:
            self._encoded({name: member})
        except InvalidDataset:
            return False
        return True


def _head(first: int, size: int) -> bytes:
    """Encode what stands before the records; there is one record of the root, or none."""
    return b"".join(
        (
            element(0x00041130, "CS", b""),
            element(0x00041200, "UL", pack("<L", first)),
            element(0x00041202, "UL", pack("<L", first)),
            element(0x00041212, "US", bytes(2)),
            element_header(_RECORDS, "SQ", size),
        )
    )


def _even(text: str, pad: bytes = b"\0") -> bytes:
    value = text.encode("ascii", "replace")
    return value + pad * (len(value) % 2)
