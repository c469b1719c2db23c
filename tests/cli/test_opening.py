"""Commands on a data directory: alone, beside a server, beside each other, as the wrong user."""

import os
import threading
import time
from pathlib import Path

import pytest

from app.archive.context import Archive
from app.cli.joining import LOCK_NAME, joined_index, own_postgres
from app.cli.opening import check_there, with_archive
from app.cli.refusal import Refusal, is_for_operator
from app.errors import NotFound
from app.index.account import EmbeddedError
from app.index.locks import FileLock
from app.index.overview import Overview, count_everything
from app.rights import Scope
from app.settings import Settings, SettingsError

pytestmark = pytest.mark.slow

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


async def count(archive: Archive) -> Overview:
    return await count_everything(archive.index, Scope())


def test_alone_a_command_makes_starts_migrates_and_stops(settings: Settings) -> None:
    assert with_archive(settings, "a test", count) == Overview(0, 0, 0, 0)
    assert own_postgres(settings).running_elsewhere() is None
    assert with_archive(settings, "a test", count) == Overview(0, 0, 0, 0)


def test_beside_a_server_a_command_joins_and_leaves_it_running(settings: Settings) -> None:
    with_archive(settings, "a test", count)
    server = own_postgres(settings)
    server.start(note="fileroom serve")
    assert with_archive(settings, "a test", count) == Overview(0, 0, 0, 0)
    assert server.run_script("SELECT 1") == "1\n"
    server.stop()


def test_an_older_index_in_use_is_not_migrated_under_its_server(settings: Settings) -> None:
    server = own_postgres(settings)
    server.start(note="fileroom serve")
    with pytest.raises(Refusal, match=r"older than this version.*`fileroom migrate`"):
        with_archive(settings, "a test", count)
    server.stop()


def test_who_runs_postgresql_waits_for_those_who_joined(settings: Settings) -> None:
    """Two imports at once: the first to end must not take the index away from the other."""
    with_archive(settings, "a test", count)
    ended = threading.Event()

    def first() -> None:
        with joined_index(settings, "first") as joined:
            assert joined.started
            inside.set()
            leave.wait(30)
        ended.set()

    inside, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(30)
    with joined_index(settings, "second") as second:
        assert not second.started
        leave.set()
        assert not ended.wait(0.5)
        assert own_postgres(settings).run_script("SELECT 1") == "1\n"
    thread.join(30)
    assert ended.is_set()


def test_one_that_comes_while_it_is_stopped_starts_it_again(settings: Settings) -> None:
    with_archive(settings, "a test", count)
    postgres = own_postgres(settings)
    postgres.start(note="about to stop")
    users = FileLock(postgres.directory / "joined")
    assert users.acquire("about to stop")

    def stop() -> None:
        time.sleep(0.5)
        postgres.stop()
        users.release()

    thread = threading.Thread(target=stop)
    thread.start()
    with joined_index(settings, "late") as late:
        assert own_postgres(settings).run_script("SELECT 1") == "1\n"
        assert late.url.startswith("postgresql://")
    thread.join()


def test_one_that_never_gets_ready_is_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cli.joining.JOIN_SECONDS", 0.3)
    settings.postgres_directory.mkdir(parents=True)
    with FileLock(settings.postgres_directory / "lock") as lock:
        assert lock.acquire("fileroom serve")
        with (
            pytest.raises(EmbeddedError, match="was starting and does not answer"),
            joined_index(settings, "a test"),
        ):
            pass


@as_root
def test_root_does_not_write_what_the_server_could_not_read(settings: Settings) -> None:
    settings.objects_directory.mkdir(parents=True)
    os.chown(settings.objects_directory, 65534, 65534)
    with pytest.raises(Refusal, match=r"served by user \w+, who could not use.*sudo -u \w+"):
        with_archive(settings, "a test", count)


@as_root
def test_the_user_who_serves_is_the_one_who_counts(settings: Settings) -> None:
    """As in a container whose root serves a directory that belongs to somebody else."""
    settings.objects_directory.mkdir(parents=True)
    os.chown(settings.objects_directory, 65534, 65534)
    lock = FileLock(settings.data_dir / LOCK_NAME)
    assert lock.acquire("fileroom serve")
    assert with_archive(settings, "a test", count) == Overview(0, 0, 0, 0)
    lock.release()


def test_a_command_says_on_which_archive_it_works(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Refusal, match=r"There is no archive in .*--data-dir"):
        check_there(settings)
    with_archive(settings, "a test", count)
    assert capsys.readouterr().err == f"Archive: {settings.data_dir}, which is a new one\n"
    check_there(settings)
    with_archive(settings, "a test", count)
    assert capsys.readouterr().err == f"Archive: {settings.data_dir}\n"


def test_a_directory_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(data_dir=tmp_path / "file" / "data")
    with (
        pytest.raises(Refusal, match="cannot be used: Not a directory"),
        joined_index(settings, ""),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "is_ours"),
    [
        (Refusal("no"), True),
        (SettingsError("no"), True),
        (EmbeddedError("no"), True),
        (NotFound("Study", "1.2"), True),
        (ValueError("no"), False),
        (OSError("no"), False),
    ],
)
def test_only_our_words_are_shown_without_a_traceback(error: Exception, is_ours: bool) -> None:
    assert is_for_operator(error) is is_ours
