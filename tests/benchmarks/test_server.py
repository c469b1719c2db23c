"""Servers under test forget what they kept, and nothing is removed before the end of a run."""

from pathlib import Path

from benchmarks.server import Server, remove_cleared


def test_what_a_server_kept_is_put_aside_until_the_end_of_the_run(tmp_path: Path) -> None:
    directory = tmp_path / "images"
    server = Server("any", ["true"], directory, 1, "/", tmp_path / "log")
    for content in ("first", "second"):
        directory.mkdir()
        (directory / "kept").write_text(content)
        server.clear()
        assert not directory.exists()
    server.clear()  # nothing there is no fault

    aside = sorted(path.read_text() for path in tmp_path.rglob("kept"))
    assert aside == ["first", "second"]

    remove_cleared(tmp_path)
    assert not list(tmp_path.iterdir())
    remove_cleared(tmp_path)
