"""`fileroom webhooks`: who is told of events."""

import sys
from pathlib import Path

from app.archive import webhooks
from app.archive.context import Archive
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.index.webhooks import Lag, Webhook, webhook_lags
from app.setting_groups import read_secret
from app.settings import Settings

_NOTE = "fileroom webhooks"


def run_add(settings: Settings, url: str, kinds: str, secret_file: Path | None) -> None:
    """Add a webhook, and print the secret if it was made here.

    Raises:
        InvalidRequest, Conflict: the URL, a kind or the secret is none, or it is there already.
        SettingsError: the file of the secret cannot be read.
        Refusal: there is no archive.
    """
    check_there(settings)
    secret = read_secret("--secret-file", secret_file) if secret_file else None
    words = kinds.replace(",", " ").split()

    async def work(archive: Archive) -> None:
        made = await webhooks.add(archive, OPERATOR, url, words, secret)
        sys.stdout.write(f"Webhook {made.id} is told of what comes from now on\n")
        if secret is None:
            sys.stdout.write(
                f"Secret, which is not shown again: {made.secret}\n"
                f"Try it with `fileroom webhooks test {made.id}`\n"
            )

    with_archive(settings, _NOTE, work)


def run_list(settings: Settings) -> None:
    """Print all webhooks, one on a line.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        lags = {lag.webhook: lag for lag in await webhook_lags(archive.index)}
        found = await webhooks.list_all(archive, OPERATOR)
        lines = [describe(one, lags[one.id]) for one in found if one.id in lags]
        sys.stdout.write("\n".join(lines or ["there are no webhooks"]) + "\n")

    with_archive(settings, _NOTE, work)


def describe(webhook: Webhook, lag: Lag) -> str:
    """Return a webhook as a line; never its secret."""
    kinds = ",".join(webhook.kinds) or "all kinds"
    last = webhook.delivered_at
    told = f"last told {last:%Y-%m-%d %H:%M}" if last else "not told yet"
    waits = f"{lag.waiting:,} events wait, for {lag.lag_seconds:,.0f} s" if lag.waiting else ""
    disabled = f"disabled: {webhook.disabled}" if webhook.disabled else ""
    said = "; ".join(filter(None, (kinds, told, waits, disabled)))
    return f"{webhook.id}: {webhook.url}: {said}"


def run_enable(settings: Settings, number: int) -> None:
    """Go on with a webhook that was disabled.

    Raises:
        NotFound: there is none.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        await webhooks.enable(archive, OPERATOR, number)
        sys.stdout.write(f"Webhook {number} goes on where it was left\n")

    with_archive(settings, _NOTE, work)


def run_remove(settings: Settings, number: int) -> None:
    """Remove a webhook.

    Raises:
        NotFound: there is none.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        await webhooks.remove(archive, OPERATOR, number)
        sys.stdout.write(f"Webhook {number} is removed\n")

    with_archive(settings, _NOTE, work)


def run_test(settings: Settings, number: int) -> int:
    """Send a test message; return the exit code, 0 if it was answered with success.

    Raises:
        NotFound: there is no such webhook.
        Unavailable: nobody answers.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> int:
        return await webhooks.try_out(archive, OPERATOR, number)

    status = with_archive(settings, _NOTE, work)
    sys.stdout.write(f"The receiver answered {status}\n")
    return 0 if 200 <= status < 300 else 1
