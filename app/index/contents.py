"""What the index keeps of the data of a Study, a Series or an Instance, as DICOM JSON.

Of an Instance that is its Metadata; of a Study or Series what searches return of it, which its
first Instance said.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson

from app.dicom.attributes import Level, member_key, split_members
from app.index.packing import metadata_unpacker

CONTENTS = {
    Level.STUDY: "SELECT s.id, s.document, s.extra, '', '' FROM study s WHERE s.id = ANY($1)",
    Level.SERIES: "SELECT e.id, s.document, s.extra, e.document, e.extra FROM series e"
    " JOIN study s ON s.id = e.study_key WHERE e.id = ANY($1)",
    Level.INSTANCE: "SELECT i.id, i.metadata, e.metadata_dictionary FROM instance i"
    " JOIN series e ON e.id = i.series_key WHERE i.id = ANY($1)",
}
"""For each row its key and what it keeps, for `read_contents`; members of levels above first."""

Contents = Iterable[tuple[int, Mapping[str, Any]]]


def read_contents(
    rows: Iterable[Sequence[Any]], level: Level, needed: Collection[int] = ()
) -> Contents:
    """Yield the key and the Data Set of each row; of Instances only where all `needed` tags are."""
    if level is Level.INSTANCE:
        yield from _metadata(rows, [member_key(tag).encode() for tag in needed])
        return
    for key, *texts in rows:
        members = [member for text in texts for member in split_members(text)]
        yield key, orjson.loads(f"{{{','.join(members)}}}")


def _metadata(rows: Iterable[Sequence[Any]], needed: Collection[bytes]) -> Contents:
    for key, metadata, dictionary in rows:
        document = metadata_unpacker(dictionary)(metadata)
        if all(tag in document for tag in needed):
            yield key, orjson.loads(document)
