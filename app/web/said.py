"""What a log may say of a path: words of our own routes and UIDs. Whatever else stands there, a
client chose, who may have put a name, a Patient ID or a secret where a UID was expected."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

WORDS = "fileroom.words"
"""Where a request carries the words of all routes."""
_UID = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,64}){2,}|[0-9,]{1,9}", re.ASCII)
_LONGEST = 64


def words_of(templates: Iterable[str]) -> frozenset[str]:
    """Return the words in the templates of routes."""
    words = {word for template in templates for word in template.split("/")}
    return frozenset(word for word in words if "{" not in word)


def said_path(scope: Mapping[str, Any]) -> str:
    """Return the path of a request with a star for each part that is no word of ours and no UID."""
    words: Collection[str] = scope.get(WORDS, ())
    parts = scope["path"].removeprefix(scope.get("root_path", "")).split("/")
    return "/".join(part if _may_be_said(part, words) else "*" for part in parts[:_LONGEST])


def _may_be_said(part: str, words: Collection[str]) -> bool:
    return part in words or not part or (len(part) <= _LONGEST and bool(_UID.fullmatch(part)))
