"""Run the benchmark: `python -m benchmarks`; `--quick` while developing."""

import argparse
import os
import sys
from pathlib import Path

from benchmarks import namespace, peer
from benchmarks.machine import find_file_system
from benchmarks.run import Options, run

ROOT = Path(__file__).resolve().parent.parent


def default_cache() -> Path:
    """Return a directory on a disk: what /tmp is in memory on some systems would sync nothing."""
    if os.geteuid() == 0:
        return Path("/var/cache/fileroom-benchmarks")
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fileroom-benchmarks"


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="`python -m benchmarks.large` puts one instance of 8 GB through 512 MB of memory.",
    )
    parser.add_argument("--quick", action="store_true", help="small sets, one repetition")
    parser.add_argument("--cells", default="", help="only rows that begin so: frames,qido-name,…")
    parser.add_argument("--only", choices=("fileroom", "orthanc"), help="measure one server alone")
    parser.add_argument("--repetitions", type=int, help="turns for each server (3)")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where sets are kept")
    parser.add_argument("--output", type=Path, help="the page to write")
    return parser.parse_args(arguments)


def _find_output(told: argparse.Namespace) -> Path:
    """Return where the page goes; only a whole run replaces the one in `docs`."""
    if told.output:
        return Path(told.output).resolve()
    whole = not (told.quick or told.cells or told.only)
    return ROOT / "docs" / "benchmarks.md" if whole else told.cache.resolve() / "partial.md"


def main() -> int:
    """Prepare what needs the network, then run inside a namespace that has none."""
    told = _parse(sys.argv[1:])
    cache = told.cache.resolve()
    options = Options(
        cache=cache,
        output=_find_output(told),
        quick=told.quick,
        cells=tuple(cell for cell in told.cells.split(",") if cell),
        only=told.only,
        repetitions=told.repetitions,
    )
    if namespace.is_inside():
        namespace.end_on_sigterm()
        namespace.bring_up_loopback()
        namespace.check_alone()
        run(options)
        return 0
    namespace.check_permitted()
    cache.mkdir(parents=True, exist_ok=True)
    if find_file_system(cache) in {"tmpfs", "ramfs"}:
        sys.exit(f"{cache} is in memory, where syncing costs nothing; name a disk with --cache.")
    if told.only != "fileroom":
        peer.prepare_peer(cache)
    return namespace.enter(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
