"""Give an Instance out in Explicit VR Little Endian, whatever it is stored in.

Everything streams: a source may be larger than memory. Generators are made for a thread (reading a
source may block); nothing is decoded here, since codecs run in worker processes.
"""

from collections.abc import Iterator
from struct import pack

from app.dicom.cursor import BLOCK, Cursor
from app.dicom.deflated import inflate_dataset, rendition
from app.dicom.file_meta import HEAD_BYTES, read_file_meta
from app.dicom.headers import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding
from app.dicom.limits import Limits
from app.dicom.rewrite import Rewriter, element, implicit_header
from app.dicom.source import BytesSource, Source
from app.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, TransferSyntax, find
from app.dicom.value_representations import certain_vr
from app.errors import InvalidDataset

_GROUP_LENGTH = 0x00020000
_TRANSFER_SYNTAX_UID = 0x00020010


def to_explicit_little_endian(
    source: Source, transfer_syntax_uid: str, limits: Limits
) -> Iterator[bytes]:
    """Yield a stored, unencapsulated Instance as a Part 10 stream in Explicit VR Little Endian.

    Pieces are up to 1 MiB. Preamble and File Meta Information stay, but for the Transfer Syntax.
    What has to fail does so when the first piece is asked for, as far as the header goes.

    Raises:
        InvalidDataset: the Transfer Syntax is encapsulated or unknown, or the Data Set cannot be
            understood, or a deflated one grows over the limits.

    Source: PS3.5 §7, Annex A; PS3.10 §7; PS3.18 §8.7.3
    """
    syntax = find(transfer_syntax_uid)
    if syntax is None or syntax.encapsulated:
        raise InvalidDataset(f"{transfer_syntax_uid} is not an uncompressed Transfer Syntax")
    return gather(_uncompressed(source, syntax, limits))


def _uncompressed(source: Source, syntax: TransferSyntax, limits: Limits) -> Iterator[bytes]:
    head = source.read(0, HEAD_BYTES)
    meta = read_file_meta(head)
    yield explicit_file_meta(head)
    if syntax.deflated:
        yield from inflate_dataset(source, meta.dataset_offset, limits)
    else:
        yield from Rewriter(source, meta.elements_offset, syntax, limits).walk()


def plain_dataset(
    source: Source, transfer_syntax_uid: str, limits: Limits, *, implicit: bool
) -> Iterator[bytes]:
    """Yield the Data Set alone of a stored, unencapsulated Instance, in a plain Transfer Syntax.

    Little endian, in implicit or explicit VR: what a modality or a workstation takes. Pieces are
    up to 1 MiB.

    Raises:
        InvalidDataset: as `to_explicit_little_endian`.

    Source: PS3.5 §7, §A.1, §A.2
    """
    syntax = find(transfer_syntax_uid)
    if syntax is None or syntax.encapsulated:
        raise InvalidDataset(f"{transfer_syntax_uid} is not an uncompressed Transfer Syntax")
    offset = read_file_meta(source.read(0, HEAD_BYTES)).elements_offset
    if syntax.deflated:
        source = rendition(source, offset, limits)
    rewriter = Rewriter(source, offset, syntax, limits)
    if implicit:
        rewriter.header = implicit_header
    return gather(rewriter.walk())


def rewritten(source: Source, transfer_syntax_uid: str, limits: Limits) -> Iterator[bytes]:
    """Yield an Instance as a Part 10 stream in explicit VR, Sequences of undefined length.

    Encapsulated Pixel Data is copied; all else is as in `to_explicit_little_endian`, but `source`
    is already inflated. The Transfer Syntax is then `written_syntax`.

    Raises:
        InvalidDataset: the Transfer Syntax is unknown, or the Data Set cannot be understood.

    Source: PS3.5 §7, Annex A; PS3.10 §7
    """
    syntax = find(transfer_syntax_uid)
    if syntax is None:
        raise InvalidDataset(f"{transfer_syntax_uid} is not a Transfer Syntax that is known")
    return gather(_rewritten(source, syntax, limits))


def _rewritten(source: Source, syntax: TransferSyntax, limits: Limits) -> Iterator[bytes]:
    head = source.read(0, HEAD_BYTES)
    yield explicit_file_meta(head, written_syntax(syntax.uid))
    offset = read_file_meta(head).elements_offset
    yield from Rewriter(source, offset, syntax, limits).walk_with_pixels()


def written_syntax(transfer_syntax_uid: str) -> str:
    """Return the Transfer Syntax of what `rewritten` makes of an Instance of another one.

    Source: PS3.5 Annex A
    """
    syntax = find(transfer_syntax_uid)
    encapsulated = syntax is not None and syntax.encapsulated
    return transfer_syntax_uid if encapsulated else EXPLICIT_LITTLE_ENDIAN


def explicit_file_meta(head: bytes, transfer_syntax_uid: str = EXPLICIT_LITTLE_ENDIAN) -> bytes:
    """Return preamble and File Meta Information that names a Transfer Syntax of explicit VRs.

    `head` is the beginning of the object. Elements other than the Transfer Syntax UID and the
    group's length stay as they are; a preamble that is not there is zeros.

    Raises:
        InvalidDataset: as `read_file_meta`.

    Source: PS3.10 §7.1
    """
    meta = read_file_meta(head)
    start = 132 if meta.has_preamble else 0
    elements = dict(_file_meta_elements(head[: meta.dataset_offset], start))
    uid = transfer_syntax_uid.encode()
    elements[_TRANSFER_SYNTAX_UID] = element(_TRANSFER_SYNTAX_UID, "UI", uid + bytes(len(uid) % 2))
    elements.pop(_GROUP_LENGTH, None)
    group = b"".join(elements[tag] for tag in sorted(elements))
    preamble = head[:128] if meta.has_preamble else bytes(128)
    return preamble + b"DICM" + element(_GROUP_LENGTH, "UL", pack("<L", len(group))) + group


def _file_meta_elements(head: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    cursor = Cursor(BytesSource(head), position)
    while (header := cursor.header(_encoding_at(cursor), len(head))) is not None:
        value = b"".join(cursor.blocks(header.length))
        yield header.tag, element(header.tag, header.vr or certain_vr(header.tag) or "UN", value)


def _encoding_at(cursor: Cursor) -> Encoding:
    return IMPLICIT_LITTLE if cursor.stands_implicit() else EXPLICIT_LITTLE


def gather(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join small pieces, so that what is sent is neither tiny nor over 1 MiB.

    Source: PS3.10 §7 (the stream they make)
    """
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        if size + len(piece) > BLOCK:
            yield b"".join(waiting)
            waiting, size = [], 0
        waiting.append(piece)
        size += len(piece)
    if size:
        yield b"".join(waiting)
