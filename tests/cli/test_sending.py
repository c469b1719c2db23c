"""`fileroom destinations`, `forwarding-rules`, `forwardings`; and what the doctor says of them."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.archive.context import Archive, open_archive
from app.cli.doctor_safety import forwarding
from app.cli.finding import Verdict
from app.cli.main import application
from app.cli.refusal import Refusal
from app.cli.sending import (
    run_add,
    run_add_rule,
    run_discard,
    run_list,
    run_list_destinations,
    run_list_rules,
    run_remove_destination,
    run_remove_rule,
    run_retry,
    run_set,
)
from app.errors import NotFound
from app.rights import Principal
from app.settings import Settings
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data").with_database(database_url)


def stored(settings: Settings) -> str:
    """Store an Instance; return its Study's UID."""
    uid = new_uid()

    async def run() -> None:
        async with open_archive(settings.place()) as archive:
            await store(archive, Principal("test"), make_part10(StudyInstanceUID=uid))

    asyncio.run(run())
    return uid


def change(settings: Settings, statement: str) -> None:
    """Run a statement on the index."""

    async def work(archive: Archive) -> None:
        await archive.index.fetch(statement)

    async def run() -> None:
        async with open_archive(settings.place()) as archive:
            await work(archive)

    asyncio.run(run())


def test_an_operator_sets_rules_queues_and_gives_up(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    run_list_destinations(settings)
    run_list_rules(settings)
    run_set(settings, "STATION", "10.0.0.17", 11112, tls=True)
    run_set(settings, "STATION", "10.0.0.18", 11112, tls=False)
    run_list_destinations(settings)
    run_add_rule(settings, "STATION", (["CT01"], ["CT", "MR"], []))
    run_list_rules(settings)
    said = capsys.readouterr().out
    assert "there are no destinations" in said
    assert "nothing is sent on by rules" in said
    assert "STATION listens on 10.0.0.17, port 11112 with TLS\n" in said
    assert "STATION listens on 10.0.0.18, port 11112, from now on\n" in said
    rule = "1. what is stored from CT01 of modality CT or MR goes to STATION\n"
    assert said.count(rule) == 2
    assert forwarding(settings).verdict is Verdict.GOOD
    study = stored(settings)
    run_add(settings, "STATION", study, None)
    run_list(settings, None, None)
    assert "waiting" in capsys.readouterr().out
    run_retry(settings, [1], None, dead=False)
    run_discard(settings, [], "STATION", dead=False)
    run_list(settings, None, None)
    said = capsys.readouterr().out
    assert "1 are due now\n1 are not sent\nnothing is to be sent on" in said
    run_remove_rule(settings, 1)
    run_remove_destination(settings, "STATION")
    with pytest.raises(NotFound):
        run_remove_destination(settings, "STATION")
    with pytest.raises(Refusal, match="Name some"):
        run_discard(settings, [], None, dead=True)


def test_the_doctor_tells_what_could_not_be_sent_and_what_waits_long(settings: Settings) -> None:
    study = stored(settings)
    run_set(settings, "STATION", "10.0.0.17", 104, tls=False)
    run_add(settings, "STATION", study, None)
    assert "1 on their way" in forwarding(settings).found
    change(settings, "UPDATE forwarding SET made_at = now() - interval '2 hours'")
    found = forwarding(settings)
    assert found.verdict is Verdict.NOTE
    assert "1 to STATION" in found.found
    change(settings, "UPDATE forwarding SET dead = true, reason = 'refused'")
    found = forwarding(settings)
    assert found.verdict is Verdict.BAD
    assert "1 to STATION" in found.found


@pytest.mark.parametrize(
    "command",
    [
        ["destinations", "set"],
        ["destinations", "list"],
        ["destinations", "remove"],
        ["forwarding-rules", "add"],
        ["forwarding-rules", "list"],
        ["forwarding-rules", "remove"],
        ["forwardings", "add"],
        ["forwardings", "list"],
        ["forwardings", "retry"],
        ["forwardings", "discard"],
    ],
)
def test_each_command_shows_how_it_is_used(command: list[str]) -> None:
    done = CliRunner().invoke(application, [*command, "--help"])
    assert done.exit_code == 0
    assert "Example" in done.output
