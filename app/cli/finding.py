"""What a check of `fileroom doctor` finds."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check went."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


MARKS = {Verdict.GOOD: "✔", Verdict.NOTE: "•", Verdict.BAD: "✘"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and how to mend it if it has to be."""

    check: str
    verdict: Verdict
    found: str
    mend: str = ""
