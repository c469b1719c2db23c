"""`fileroom jobs`: what is in the queue."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from app.archive import queued
from app.archive.context import Archive
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.jobs.queue import SeenJob
from app.settings import Settings

_NOTE = "fileroom jobs"


def run_list(settings: Settings, *, dead: bool, as_json: bool) -> None:
    """Print the jobs, one on a line, or as JSON.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        found = await queued.list_jobs(archive, OPERATOR, dead=dead)
        if as_json:
            jobs = [asdict(job) async for job in found]
            sys.stdout.write(json.dumps({"jobs": jobs}, default=lambda at: at.isoformat()) + "\n")
            return
        empty = True
        async for job in found:
            sys.stdout.write(f"{describe(job)}\n")
            empty = False
        if empty:
            sys.stdout.write("no job has failed for good\n" if dead else "no job waits\n")

    with_archive(settings, _NOTE, work)


def describe(job: SeenJob) -> str:
    """Return a job as a line."""
    since = f"since {job.created:%Y-%m-%d %H:%M}"
    line = f"{job.id}: {job.entrypoint}, {job.state} {since}"
    if job.state == "waiting" and job.attempts:
        line += f", next try {job.due:%Y-%m-%d %H:%M}"
    return f"{line}: {job.error}" if job.error else line


def run_retry(settings: Settings, numbers: Sequence[int] | None) -> None:
    """Have jobs done now; None: all that failed for good.

    Raises:
        NotFound: one of them neither failed nor waits.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        found = await queued.retry_jobs(archive, OPERATOR, numbers)
        sys.stdout.write(f"{len(found):,} jobs are done as soon as `serve` or a worker runs\n")

    with_archive(settings, _NOTE, work)


def run_discard(settings: Settings, number: int) -> None:
    """Give up a job that failed for good.

    Raises:
        NotFound: there is none.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        await queued.discard_job(archive, OPERATOR, number)
        sys.stdout.write(f"Job {number} is given up\n")

    with_archive(settings, _NOTE, work)
