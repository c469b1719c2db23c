"""pydicom, and whatever else reads bytes in C, is given none that are not bounded.

What comes from outside is read by our own scanner (`app.dicom.scan`, with its limits). Of pydicom
the archive takes tables and names alone; pixels are decoded in processes of their own, which have
limits of memory and time (`app.archive.workers`); XML goes to expat and JSON to orjson, each from a
body that was bounded first. This test walks the source: what is new has to be put here.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import app

ROOT = Path(app.__file__).parent
TABLES = {
    "pydicom.charset.CODES_TO_ENCODINGS",
    "pydicom.charset.STAND_ALONE_ENCODINGS",
    "pydicom.charset.encode_string",
    "pydicom.charset.python_encoding",
    "pydicom.config.IGNORE",
    "pydicom.datadict.dictionary_VR",
    "pydicom.datadict.dictionary_has_tag",
    "pydicom.datadict.dictionary_is_retired",
    "pydicom.datadict.keyword_for_tag",
    "pydicom.datadict.private_dictionary_VR",
    "pydicom.datadict.tag_for_keyword",
    "pydicom.tag.Tag",
    "pydicom.uid.ExplicitVRBigEndian",
    "pydicom.uid.ExplicitVRLittleEndian",
    "pydicom.uid.ImplicitVRLittleEndian",
    "pydicom.uid.UID",
    "pydicom.valuerep.EXPLICIT_VR_LENGTH_16",
    "pydicom.valuerep.EXPLICIT_VR_LENGTH_32",
}
"""Constants, and look-ups of a tag or a keyword: none of them is given a Data Set or its bytes.
`encode_string` writes text for an answer."""
DECODERS = ("imagecodecs", "fpdf", "PIL")
"""Only a process of the pool may load these: it is given the name of a function."""
BOUNDED = {
    "zlib": {
        "app.dicom.codecs": "in a worker; one frame's size and two bytes",
        "app.dicom.fuzzy_names": "a checksum",
        "app.dicom.deflated": "a piece at a time, up to a size and a ratio",
        "app.dicom.picture_encoders": "compresses",
        "app.web.content_coding": "a piece at a time, up to a size and a ratio",
    },
    "xml.parsers.expat": {"app.dicom.xml_reader": "no document type; depth and elements counted"},
    "gzip": {},
    "bz2": {},
    "lzma": {},
    "pickle": {
        "app.archive.worker_messages": "between our own processes",
        "app.cli.asgi_server": "from our parent alone",
        "app.cli.bridge_processes": "writes",
        "app.cli.bridging": "from our parent alone",
        "app.cli.supervise": "writes",
    },
    "xml.etree": {"app.dicom.audit_message": "writes"},
}
"""What else reads bytes that may be hostile, who calls it, and what bounds it there."""


@cache
def graph() -> dict[str, set[str]]:
    """Return what each module of the archive imports, by whole names."""
    found = {}
    for path in ROOT.rglob("*.py"):
        name = ".".join(("app", *path.relative_to(ROOT).with_suffix("").parts))
        found[name] = set(imported(ast.parse(path.read_text(encoding="utf-8"))))
    return found


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports, by its whole name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def who_imports(library: str) -> dict[str, set[str]]:
    """Return what of a library each module imports."""
    found = {
        name: {one for one in imports if f"{one}.".startswith(f"{library}.")}
        for name, imports in graph().items()
    }
    return {name: of_it for name, of_it in found.items() if of_it}


def test_of_pydicom_only_tables_are_used() -> None:
    used = who_imports("pydicom")
    assert used
    assert set().union(*used.values()) <= TABLES, used
    beyond = {name: of_it for name, of_it in used.items() if not name.startswith("app.dicom.")}
    assert all(name.startswith("app.dimse.") for name in beyond)
    assert set().union(*beyond.values()) == {"pydicom.uid.UID"}  # pynetdicom's names are such


def test_codecs_are_loaded_in_worker_processes_alone() -> None:
    imports = graph()
    reached = {name for name in imports if not name.startswith("app.dicom.")}
    reached -= {"app.archive.worker_main"}
    waiting = list(reached)
    while waiting:
        for one in imports[waiting.pop()]:
            for name in {one, one.rpartition(".")[0]} & imports.keys() - reached:
                reached.add(name)
                waiting.append(name)
    loading = {name for name, of_it in imports.items() if _loads(of_it, DECODERS)}
    assert loading
    assert not loading & reached


def _loads(names: set[str], libraries: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(f"{library}.") for name in names for library in libraries)


def test_whoever_unpacks_or_parses_is_known_with_its_bound() -> None:
    for library, known in BOUNDED.items():
        assert set(who_imports(library)) == set(known), library
