"""For which AE a service acts (PS3.5 Table 6.2-1)."""

import pytest

from app.errors import InvalidRequest
from app.rights import Principal, Verb
from app.web.acting import CALLING_AE, acting

SERVICE = Principal("bridge", kind="service")


def called(*titles: str) -> dict[str, object]:
    name = CALLING_AE.lower().encode()
    return {"headers": [(name, title.encode("latin-1")) for title in titles]}


@pytest.mark.parametrize(
    ("said", "title"), [("CT1", "CT1"), (" MR 2 ", "MR 2"), ("A" * 16, "A" * 16)]
)
def test_a_service_acts_for_the_ae_that_it_names(said: str, title: str) -> None:
    assert acting(SERVICE, called(said)).calling_ae == title


def test_without_the_header_it_acts_for_itself_and_others_always_do() -> None:
    assert acting(SERVICE, called()) is SERVICE
    user = Principal("anna", kind="user", verbs=frozenset({Verb.SEARCH}))
    assert acting(user, called("CT1", "", "\\")) is user


@pytest.mark.parametrize(
    "titles", [("",), ("  ",), ("A" * 17,), ("A\\B",), ("CT\xe9",), ("A", "B"), ("A\x7f",)]
)
def test_what_is_no_ae_title_is_refused(titles: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest, match=CALLING_AE):
        acting(SERVICE, called(*titles))
