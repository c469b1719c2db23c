"""Text that is written over a picture when it is asked for: who it shows, and how it was made."""

from app.dicom.document import Document

_PATIENT = ("00100010", "00100020", "00100030", "00100040")
_TECHNIQUE = (
    ("", "00080060", ""),
    ("", "00081030", ""),
    ("", "0008103E", ""),
    ("", "00080020", ""),
    ("Series ", "00200011", ""),
    ("Instance ", "00200013", ""),
    ("", "00180060", " kV"),
    ("", "00181152", " mAs"),
    ("TR ", "00180080", " ms"),
    ("TE ", "00180081", " ms"),
    ("Thickness ", "00180050", " mm"),
)


def annotation_lines(document: Document, names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return the lines of `patient` and of `technique`; no lines of what is not among the names.

    Source: PS3.18 §8.3.5.1.1
    """
    patient = [_shown(document.text(tag)) for tag in _PATIENT]
    technique = [
        f"{before}{document.text(tag)}{after}"
        for before, tag, after in _TECHNIQUE
        if document.text(tag)
    ]
    return (
        tuple(filter(None, patient)) if "patient" in names else (),
        tuple(technique) if "technique" in names else (),
    )


def _shown(text: str) -> str:
    """Return a name without the marks between its parts; of its groups the first."""
    return text.partition("=")[0].replace("^", " ").strip() or text
