"""`python -m tests.killing --kills 200 [--s3] [--seed N]`: exit code 1 on any loss."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.killing.run import Loss, Plan, run


def main() -> int:
    """Run, and print the table."""
    options = argparse.ArgumentParser(prog="python -m tests.killing", description=__doc__)
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--s3", action="store_true", help="keep the objects in a bucket")
    options.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--directory", type=Path, help="where to work; it stays")
    asked = options.parse_args()
    directory = asked.directory or Path(tempfile.mkdtemp(prefix="killing-"))
    plan = Plan(directory, asked.kills, asked.seed, asked.s3, asked.workers)
    _say(f"seed {asked.seed}\n")
    try:
        report = run(plan, lambda words: _say(f"{words}\n"))
    except (Loss, AssertionError) as error:
        _say(f"seed {asked.seed}: {error}\nAll of it is in {directory}\n")
        return 1
    _say(f"{report.table()}\n\n{dict(sorted(report.answers.items()))}\n")
    if asked.directory is None:
        shutil.rmtree(directory)
    return 0


def _say(words: str) -> None:
    sys.stdout.write(words)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
