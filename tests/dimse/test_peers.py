"""The table of peers: who is admitted, how it is written down, and how many at once."""

from typing import Any

import pytest

from app.dimse.peers import (
    CALLED_UNKNOWN,
    CALLING_UNKNOWN,
    Peer,
    Places,
    Refusal,
    Table,
    check_ae_title,
    read_peers,
)

CT1 = Peer("CT1", "10.0.0.5")


@pytest.mark.parametrize(
    ("calling", "called", "address", "open_", "code"),
    [
        ("CT1", "FILEROOM", "10.0.0.5", False, None),
        ("CT1", "FILEROOM", "10.0.0.6", False, CALLING_UNKNOWN),
        ("CT1", "FILEROOM", "10.0.0.6", True, CALLING_UNKNOWN),
        ("CT1", "OTHER", "10.0.0.5", True, CALLED_UNKNOWN),
        ("CT2", "FILEROOM", "10.0.0.5", False, CALLING_UNKNOWN),
        ("CT2", "FILEROOM", "10.0.0.5", True, None),
        ("ct1", "FILEROOM", "10.0.0.5", False, CALLING_UNKNOWN),
        ("", "FILEROOM", "10.0.0.5", True, CALLING_UNKNOWN),
        ("A\\B", "FILEROOM", "10.0.0.5", True, CALLING_UNKNOWN),
    ],
)
def test_who_is_in_the_table_is_admitted(
    calling: str, called: str, address: str, open_: bool, code: tuple[int, int, int] | None
) -> None:
    admitted = Table("FILEROOM", {"CT1": CT1}, open=open_).admitted(calling, called, address)
    assert (admitted.code if isinstance(admitted, Refusal) else None) == code


@pytest.mark.parametrize(
    ("named", "address", "admitted"),
    [
        ("10.0.0.5", "::ffff:10.0.0.5", True),
        ("::ffff:10.0.0.5", "10.0.0.5", True),
        ("fd00:0::5", "fd00::5", True),
        ("10.0.0.5", "::ffff:10.0.0.6", False),
        ("localhost", "127.0.0.1", True),
        ("localhost", "10.0.0.5", False),
        ("no-such-host.invalid", "10.0.0.5", False),
        ("no host..at all", "10.0.0.5", False),
    ],
)
def test_an_address_is_one_however_it_is_written(named: str, address: str, admitted: bool) -> None:
    peer = Peer("CT1", named)
    found = Table("FILEROOM", {"CT1": peer}).admitted("CT1", "FILEROOM", address)
    assert (found is peer) == admitted


def test_places_are_counted_in_all_and_for_each_peer() -> None:
    places = Places(3, 2)
    assert [places.take(title) for title in ("A", "A", "A", "B", "C")] == [True] * 2 + [
        False,
        True,
        False,
    ]
    places.give_back("A")
    assert places.take("C")


def test_peers_are_read_from_json() -> None:
    text = (
        '[{"ae_title": "CT1", "address": "10.0.0.5", "port": 104, "services": ["store"],'
        ' "key_file": "ct1.key", "tls": true}, {"ae_title": "WS"}]'
    )
    assert read_peers(text) == (
        Peer("CT1", "10.0.0.5", 104, frozenset({"store"}), "ct1.key", True),
        Peer("WS"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CT1", "should be a JSON list"),
        ('{"ae_title": "CT1"}', "should be a JSON list"),
        ("[{}]", "1 to 16 plain characters"),
        ('[{"ae_title": "A TITLE TOO LONG FOR IT"}]', "1 to 16 plain characters"),
        ('[{"ae_title": "A"}, {"ae_title": "A"}]', "an AE title of its own"),
        ('[{"ae_title": "A", "aet": "B"}]', "not aet"),
        ('[{"ae_title": 1}]', "no text"),
        ('[{"ae_title": "A", "address": "h", "port": 0}]', "from 1 to 65535"),
        ('[{"ae_title": "A", "address": "h", "port": true}]', "from 1 to 65535"),
        ('[{"ae_title": "A", "port": 104}]', "needs an address"),
        ('[{"ae_title": "A", "tls": "yes"}]', "true or false"),
        ('[{"ae_title": "A", "services": "store"}]', "a list of store, find"),
        ('[{"ae_title": "A", "services": ["print"]}]', "a list of store, find"),
        ('[{"ae_title": "A", "services": [["x"]]}]', "a list of store, find"),
        ('[{"ae_title": "A", "services": [{}]}]', "a list of store, find"),
        ('[{"ae_title": "A", "services": [1, null]}]', "a list of store, find"),
        ("[" * 100_000, "should be a JSON list"),
    ],
)
def test_peers_that_cannot_be_understood_are_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_peers(text)


@pytest.mark.parametrize("value", [(), [], (CT1,)])
def test_peers_that_are_peers_already_stay(value: Any) -> None:
    assert read_peers(value) == value


@pytest.mark.parametrize("title", ["", " A", "A\\B", "A\nB", "Ä", "A" * 17])
def test_what_is_no_ae_title_is_refused(title: str) -> None:
    with pytest.raises(ValueError, match="AE title"):
        check_ae_title(title)


def test_an_address_is_compared_as_one_not_as_text() -> None:
    peers = {"CT1": Peer("CT1", "10.0.0.5"), "CT2": Peer("CT2", "2001:DB8:0::1")}
    table = Table("FILEROOM", peers)
    assert table.admitted("CT1", "FILEROOM", "::ffff:10.0.0.5") is peers["CT1"]
    assert table.admitted("CT2", "FILEROOM", "2001:db8::1") is peers["CT2"]
    assert isinstance(table.admitted("CT1", "FILEROOM", "::ffff:10.0.0.6"), Refusal)
