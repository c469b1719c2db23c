"""Runs one target under atheris: `python -m tests.fuzz part10 [FOLDER] [libFuzzer's options]`.

FOLDER keeps what leads elsewhere (a corpus), begun with the seeds; a finding is a file `crash-…` in
the working directory: put it into `corpus/` of the target, and mend.
"""

import sys
from pathlib import Path

import atheris


def main() -> None:
    """Fuzz until something is found, or until libFuzzer is told to stop."""
    name, folder, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["app"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - instrumented as it is imported
    from tests.fuzz.seeds import seeds  # noqa: PLC0415 - as above

    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (place / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], str(place), *options], TARGETS[name])
    atheris.Fuzz()


main()
