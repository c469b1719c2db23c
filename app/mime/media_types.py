"""Media types and media ranges (RFC 9110 §8.3, §12.5.1; PS3.18 §8.7).

Lenient where clients differ: parameters may be quoted or not, in any order and case, and may stand
twice (a browser joins two Accept headers into one). A member that cannot be parsed is skipped.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TYPE = re.compile(rf"\s*({_NAME})/({_NAME})\s*")
# a value without quotes may hold a slash: type=application/dicom is what viewers send
_PARAMETER = re.compile(
    rf";\s*({_NAME})\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([!#$%&'*+.^_`|~0-9A-Za-z/-]*))\s*|;\s*"
)
_MEMBER_END = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)*')
_LONGEST = 8192


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type or range, lower-cased, with its parameters in order; `q` is taken out."""

    type: str
    parameters: tuple[tuple[str, str], ...] = ()
    q: float = 1.0

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of a parameter."""
        return tuple(value for key, value in self.parameters if key == name)

    def get(self, name: str) -> str | None:
        """Return the first value of a parameter, or None."""
        return next(iter(self.all(name)), None)

    def covers(self, media_type: str) -> bool:
        """Say whether this range includes `media_type` (type/subtype, no parameters)."""
        return covers(self.type, media_type)


def covers(pattern: str, media_type: str) -> bool:
    """Say whether a range such as `image/*` or `*/*` includes `media_type`."""
    return pattern in {"*/*", media_type} or (
        pattern.endswith("/*") and media_type.startswith(pattern[:-1])
    )


def _parse(text: str) -> MediaType | None:
    match = _TYPE.match(text)
    if match is None:
        return None
    name = f"{match[1]}/{match[2]}".lower()
    position, parameters, q = match.end(), [], 1.0
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None:
            return None
        position = match.end()
        if match[1] is None:
            continue
        key = match[1].lower()
        value = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
        if key == "q":
            q = _quality(value)
        else:
            parameters.append((key, value))
    return MediaType(name, tuple(parameters), q)


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0) if text.isascii() else 0.0
    except ValueError:
        return 0.0


def parse_media_type(text: str) -> MediaType | None:
    """Return the one media type of a Content-Type header, or None if it is none."""
    return _parse(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=512)
def parse_accept(text: str) -> tuple[MediaType, ...]:
    """Return the ranges of an Accept header, most wanted first; those with q=0 are left out.

    Equal q keeps the order of the header. Members that cannot be parsed are skipped.

    Source: RFC 9110 §12.5.1, PS3.18 §8.7.5
    """
    return tuple(sorted((one for one in _ranges(text) if one.q > 0), key=lambda one: -one.q))


def _ranges(text: str) -> list[MediaType]:
    ranges = []
    position = 0
    text = text[:_LONGEST]
    while position <= len(text):
        match = _MEMBER_END.match(text, position)
        end = match.end() if match else len(text)
        parsed = _parse(text[position:end])
        if parsed is not None:
            ranges.append(parsed)
        position = end + 1
    return ranges


@dataclass(frozen=True, slots=True)
class Form:
    """One form of an answer that the caller would take.

    `media_type` is that of each part of a multipart, or of the body itself; it may be a range.
    `transfer_syntaxes` are in order, "*" for any; empty means that none was named. Of what a range
    includes, `refused` are the types and ranges that are not wanted.
    """

    media_type: str
    multipart: bool
    transfer_syntaxes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def covers(self, media_type: str) -> bool:
        """Say whether this form takes `media_type` (type/subtype, no parameters)."""
        return covers(self.media_type, media_type) and not any(
            covers(refused, media_type) for refused in self.refused
        )


@lru_cache(maxsize=512)
def accepted_forms(accept: str) -> tuple[Form, ...]:
    """Return the forms that an Accept header asks for, most wanted first.

    An empty header accepts anything. A multipart that does not say of what is one of anything. A
    range does not include what stands beside it with q=0, in one part or in several.

    Source: PS3.18 §8.7.5, §8.7.8.1; RFC 9110 §12.5.1
    """
    ranges = parse_accept(accept) if accept.strip() else (MediaType("*/*"),)
    unwanted = tuple(_form(media).media_type for media in _ranges(accept) if media.q == 0)
    return tuple(_without(_form(media), unwanted) for media in ranges)


def _without(form: Form, unwanted: tuple[str, ...]) -> Form:
    """Return a range that refuses what is narrower than itself; the narrower one goes first."""
    if "*" not in form.media_type or not unwanted:
        return form
    narrower = (one for one in unwanted if one != form.media_type and form.covers(one))
    return replace(form, refused=tuple(narrower))


def _form(media: MediaType) -> Form:
    syntaxes = media.all("transfer-syntax")
    if media.type in {"multipart/related", "multipart/*"}:
        inner = (media.get("type") or "*/*").lower()
        return Form(inner, multipart=True, transfer_syntaxes=syntaxes)
    return Form(media.type, multipart=False, transfer_syntaxes=syntaxes)
