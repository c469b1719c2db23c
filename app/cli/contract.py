"""The HTTP contract as a file. YAML without a library: every string is quoted as JSON quotes it,
which YAML reads the same way (DEL is escaped as well, which JSON lets stand)."""

import difflib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.cli.refusal import Refusal
from app.main import create_app
from app.settings import load_settings

_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z_$-]*")
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")
_NO_KEYS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def contract_text() -> str:
    """Return the contract (OpenAPI) as YAML."""
    return "".join(f"{line}\n" for line in _lines(create_app(load_settings()).openapi()))


def check_contract(path: Path) -> None:
    """Compare the contract with a file.

    Raises:
        Refusal: the file is not there, or says something else.
    """
    try:
        found = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}.") from None
    if found != (wanted := contract_text()):
        names = (str(path), "what the server does")
        lines = difflib.unified_diff(found.splitlines(), wanted.splitlines(), *names, lineterm="")
        raise Refusal("\n".join([f"{path} is not current; run `make openapi`:", *lines]))


def _lines(value: Any, indent: str = "") -> Iterator[str]:
    """Yield the lines of a mapping or list that is not empty."""
    entries = value.items() if isinstance(value, dict) else ((None, entry) for entry in value)
    for key, entry in entries:
        head = f"{indent}-" if key is None else f"{indent}{_key(key)}:"
        if isinstance(entry, dict | list) and entry:
            yield head
            yield from _lines(entry, f"{indent}  ")
        else:
            yield f"{head} {_quoted(entry)}"


def _key(key: str) -> str:
    if _PLAIN_KEY.fullmatch(key) and key.lower() not in _NO_KEYS:
        return key
    return _quoted(key)


def _quoted(value: Any) -> str:
    """Return a scalar, or an empty list or mapping."""
    text = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
