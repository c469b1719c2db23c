"""Where a login leads on to. What sessions may do, `tests/admin/test_login.py` tries."""

import pytest

from app.web.sessions import login_address, path_of_ours


@pytest.mark.parametrize("path", ["/", "/docs", "/viewer?study=1.2&x=%2F", "/a//b", "/\xe4"])
def test_after_a_login_one_goes_on_to_a_page_of_ours(path: str) -> None:
    assert path_of_ours(path) == path


@pytest.mark.parametrize(
    "path",
    [
        *("//evil.example", "https://evil.example", "/\\evil.example", "\\/evil", "", "x"),
        *("/a\nb", "/a\r\nSet-Cookie: x", "/\ud800", "/" + "a" * 1500, "/\t/evil.example"),
    ],
)
def test_and_to_nothing_else(path: str) -> None:
    assert path_of_ours(path) == "/"


def test_the_page_that_was_wanted_is_in_the_address_of_the_login() -> None:
    scope = {"root_path": "/pacs", "path": "/pacs/viewer", "query_string": b"study=1.2&a=b"}
    assert login_address(scope) == "/pacs/login?next=/pacs/viewer%3Fstudy%3D1.2%26a%3Db"
