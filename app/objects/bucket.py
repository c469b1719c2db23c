"""The addresses of stores. Apart from those: their library is too large for light processes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from app.entries import read_entries

SCHEMES = frozenset({"s3", "gs", "az"})
FIRST = "first"
"""The name of the store that is no copy."""
MODES = {"sync": True, "async": False}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_MEMBERS = ("endpoint", "region", "access_key", "secret_key")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where a bucket is. What is not given comes from the environment, as the cloud's own tools
    take it (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME, …)."""

    url: str
    """`s3://bucket/prefix`, `gs://…`, `az://…`."""
    endpoint: str | None = None
    """Of a server that speaks S3 and is not Amazon's."""
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class CopyPlace:
    """A further store. Success of a store waits for it if it is `sync`."""

    name: str
    sync: bool
    where: Path | Bucket


def overlap(one: Path | Bucket, other: Path | Bucket) -> bool:
    """Say whether two places are the same, or one lies in the other; links are followed."""
    if isinstance(one, Path) and isinstance(other, Path):
        here, there = one.resolve().parts, other.resolve().parts
    elif isinstance(one, Bucket) and isinstance(other, Bucket):
        here, there = _parts(one), _parts(other)
    else:
        return False
    shorter = min(len(here), len(there))
    return here[:shorter] == there[:shorter]


def _parts(bucket: Bucket) -> tuple[str, ...]:
    parts = urlsplit(bucket.url)
    server = (bucket.endpoint or "").rstrip("/")
    return (server, parts.scheme, parts.netloc, *filter(None, parts.path.split("/")))


def objects_address(value: str) -> str:
    """Return an address of objects, if it is one.

    Raises:
        ValueError: it is neither a directory's nor a bucket's.
    """
    parts = urlsplit(value)
    if parts.scheme == "file":
        good = bool(not parts.netloc and parts.path.strip("/"))
    else:
        good = parts.scheme in SCHEMES and bool(parts.netloc) and not parts.query
    if not good:
        raise ValueError(
            "objects lie in a directory or a bucket: file:///srv/fileroom/objects, "
            "s3://bucket/prefix, gs://bucket, az://container"
        )
    return value


def read_copies(value: Any) -> Any:
    """Return the copies that a JSON list in a variable names.

    Raises:
        ValueError: it cannot be understood; the message says what should stand there.
    """
    if not isinstance(value, str):
        return value
    entries = read_entries(value, '[{"name": "offsite", "url": "s3://bucket"}]')
    places = tuple(_copy(entry) for entry in entries)
    if len({place.name for place in places}) < len(places):
        raise ValueError("each copy needs a name of its own")
    return places


def _copy(entry: Mapping[str, Any]) -> CopyPlace:
    unknown = set(entry) - {"name", "mode", "url", *_MEMBERS}
    if unknown or not all(isinstance(value, str) for value in entry.values()):
        words = ", ".join(sorted(unknown)) or "something that is no text"
        raise ValueError(f"a copy has name, url, mode, {', '.join(_MEMBERS)}; not {words}")
    name, mode = entry.get("name", ""), entry.get("mode", "sync")
    if not _NAME.fullmatch(name) or name == FIRST:
        raise ValueError("the name of a copy is a short word in small letters, such as offsite")
    if mode not in MODES:
        raise ValueError("the mode of a copy is sync or async")
    url = objects_address(entry.get("url", ""))
    if urlsplit(url).scheme == "file":
        return CopyPlace(name, MODES[mode], Path(unquote(urlsplit(url).path)))
    return CopyPlace(name, MODES[mode], Bucket(url, *(entry.get(member) for member in _MEMBERS)))
