"""The query string of a search → `Query` (PS3.18 §8.3.4).

Percent-encoding is decoded once. A parameter that is neither known nor an attribute is ignored, as
§8.3 asks, and a warning says so; an attribute that cannot be matched is refused, since ignoring it
would return more than was asked for.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from app.dicom.attributes import Level
from app.dicom.matching import (
    Path,
    Query,
    is_private_creator,
    is_returned,
    parse_match,
    parse_path,
    parse_zone,
)
from app.dicom.rules import Match
from app.errors import InvalidQuery

MOST_PARAMETERS = 200
LONGEST = 2**16
_LARGEST = 2**63 - 1
_ZONE = (0x00080201,)
_FOREIGN = frozenset({"accept", "charset"})
"""What other parts of the server read."""
_SPEAKABLE = re.compile(r"[A-Za-z0-9_.,()-]{1,64}", re.ASCII)
_TAG_OF_PAPER = re.compile(r"\(?[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\)?", re.ASCII)
_PLURAL = {Level.STUDY: "Studies", Level.SERIES: "Series", Level.INSTANCE: "Instances"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(slots=True)
class _Request:
    """What has been read so far."""

    matches: list[tuple[Path, str]] = field(default_factory=list)
    creators: list[tuple[int, str]] = field(default_factory=list)
    include: set[int] = field(default_factory=set)
    include_all: bool = False
    zone: int | None = None
    numbers: dict[str, int] = field(default_factory=dict)
    flags: dict[str, bool] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    named: list[tuple[str, int]] = field(default_factory=list)


def read_query(
    query_string: bytes, level: Level, study: str | None = None, series: str | None = None
) -> Query:
    """Return what a request asks for at `level`, below the Study and Series that its path names.

    A key given twice has to be met twice, an includefield adds to those before it; any other
    parameter may be given once.

    Raises:
        InvalidQuery: a parameter is malformed, or names an attribute that is not matched.
    """
    request = _Request()
    for name, value in _parameters(query_string):
        _read(request, name, value)
    matches = list(_matches(request))
    request.warnings += _not_returned(request, level)
    return Query(
        level=level,
        study=study,
        series=series,
        matches=tuple(matches),
        include=frozenset(request.include),
        include_all=request.include_all,
        creators=tuple(request.creators),
        zone=request.zone,
        limit=request.numbers.get("limit"),
        offset=request.numbers.get("offset", 0),
        warnings=tuple(request.warnings),
    )


def _parameters(query_string: bytes) -> Iterable[tuple[str, str]]:
    if len(query_string) > LONGEST:
        raise InvalidQuery(f"the query string is longer than {LONGEST} bytes")
    pairs = [pair for pair in query_string.split(b"&") if pair]
    if len(pairs) > MOST_PARAMETERS:
        raise InvalidQuery(f"more than {MOST_PARAMETERS} parameters")
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        yield _decode(name), _decode(value, padding="\0")


def _decode(encoded: bytes, padding: str = "") -> str:
    try:
        text = unquote_to_bytes(encoded.replace(b"+", b" ")).decode()
    except UnicodeDecodeError as error:
        raise InvalidQuery("a parameter is not percent-encoded UTF-8") from error
    stripped = text.rstrip(padding) if padding else text
    if text and not stripped:
        raise InvalidQuery("a value of padding alone was given")
    text = stripped
    if _CONTROL.search(text):
        raise InvalidQuery("a parameter has control characters")
    return text


def _read(request: _Request, name: str, value: str) -> None:
    reader = _READERS.get(name)
    if reader is not None:
        reader(request, name, value)
    elif name not in _FOREIGN:
        _read_key(request, name, value)


def _read_key(request: _Request, name: str, value: str) -> None:
    path = parse_path(name)
    if path is None:
        if not name.startswith("_"):  # a browser's way to get past caches
            request.warnings.append(_ignored(_named("parameter", name), name))
        return
    request.include.add(path[0])
    if path == _ZONE:
        request.zone = parse_zone(value)
    elif is_private_creator(path) and value:
        request.creators.append((path[0], value.strip()))
    else:
        request.matches.append((path, value))


def _read_include(request: _Request, _: str, value: str) -> None:
    for item in value.split(","):
        key = item.strip()
        path = parse_path(key) if key else None
        if key.lower() == "all":
            request.include_all = True
        elif path is not None:
            request.include.add(path[0])
            request.named.append((key, path[0]))
        elif key:
            request.warnings.append(_ignored(_named("includefield", key), key))


def _shown(key: str) -> str:
    """Return a key as it may stand in a Warning header."""
    return key if _SPEAKABLE.fullmatch(key) else "unknown"


def _named(kind: str, key: str) -> str:
    """Return a parameter or includefield in words; one that may not stand there has no name."""
    if not _SPEAKABLE.fullmatch(key):
        return f"{'An' if kind == 'includefield' else 'A'} {kind}"
    return f"The {key} {kind}" if kind == "parameter" else f"The {kind} {key}"


def _ignored(what: str, key: str) -> str:
    hint = " Write a tag as eight hexadecimal digits." if _TAG_OF_PAPER.fullmatch(key) else ""
    return f"{what} is not known and has been ignored.{hint}"


def _not_returned(request: _Request, level: Level) -> Iterable[str]:
    """Yield a warning for each includefield that is of a lower level, or of no index."""
    if level is not Level.INSTANCE:
        for key, tag in request.named:
            if not is_returned(tag, level):
                yield (
                    f"The includefield {_shown(key)} is not returned in a search for "
                    f"{_PLURAL[level]} and has been ignored."
                )


def _read_number(request: _Request, name: str, value: str) -> None:
    _once(request.numbers, name)
    number = int(value) if re.fullmatch(r"[0-9]{1,19}", value, re.ASCII) else -1
    if not 0 <= number <= _LARGEST:
        raise InvalidQuery(f"{name} takes one whole number from 0 to {_LARGEST}")
    request.numbers[name] = number


def _read_flag(request: _Request, name: str, value: str) -> None:
    _once(request.flags, name)
    if value.lower() not in {"true", "false"}:
        raise InvalidQuery(f"{name} takes true or false")
    request.flags[name] = value.lower() == "true"


def _once(read: dict[str, int] | dict[str, bool], name: str) -> None:
    if name in read:
        raise InvalidQuery(f"{name} is given more than once")


_READERS: dict[str, Callable[[_Request, str, str], None]] = {
    "includefield": _read_include,
    "limit": _read_number,
    "offset": _read_number,
    "fuzzymatching": _read_flag,
    "emptyvaluematching": _read_flag,
    "multiplevaluematching": _read_flag,
}


def _matches(request: _Request) -> Iterable[Match]:
    every = request.flags.get("multiplevaluematching", False)
    empty = request.flags.get("emptyvaluematching", False)
    fuzzy = request.flags.get("fuzzymatching", False)
    blocks = {tag & 0xFFFF0000 | tag >> 8 & 0xFF for tag in request.include}
    keys: list[tuple[Path, str]] = [
        ((tag,), value) for tag, value in request.creators if tag not in blocks
    ]
    creators = dict(request.creators)
    for path, value in [*request.matches, *keys]:
        match = parse_match(path, value, every=every, empty=empty, fuzzy=fuzzy, creators=creators)
        if match is not None:
            yield match
