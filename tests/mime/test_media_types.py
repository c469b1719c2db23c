"""Media ranges as real clients write them."""

from collections.abc import Sequence

import pytest

from app.mime.media_types import Form, MediaType, accepted_forms, parse_accept, parse_media_type
from tests.cost import costs_at_most

ANY = Form("*/*", multipart=False)
OCTETS = "application/octet-stream"


@pytest.mark.parametrize(
    ("header", "forms"),
    [
        ("", [ANY]),
        ("*/*", [ANY]),
        # M-20: quoted or not, any case and order
        ('multipart/related; type="application/dicom"', [Form("application/dicom", True)]),
        ("Multipart/Related;TYPE=application/dicom", [Form("application/dicom", True)]),
        (
            "multipart/related; transfer-syntax=*; type=application/dicom",
            [Form("application/dicom", True, ("*",))],
        ),
        # M-28: cornerstone's default
        (
            "multipart/related; type=application/octet-stream; transfer-syntax=*",
            [Form(OCTETS, True, ("*",))],
        ),
        # CLIENTS 1: OHIF's headers as the browser joins them
        (
            "application/dicom+json, multipart/related; type=application/octet-stream; "
            "transfer-syntax=*; transfer-syntax=*",
            [Form("application/dicom+json", False), Form(OCTETS, True, ("*", "*"))],
        ),
        # CLIENTS 2: OHIF's configured syntaxes
        (
            'multipart/related; type="image/jls"; transfer-syntax="1.2.840.10008.1.2.4.80"; '
            'transfer-syntax="*"',
            [Form("image/jls", True, ("1.2.840.10008.1.2.4.80", "*"))],
        ),
        # M-21: the Python dicomweb-client
        ('multipart/related; type="*/*"', [Form("*/*", True)]),
        ("multipart/related", [Form("*/*", True)]),
        # M-10, G-05: q orders, equal q keeps the order, q=0 is not wanted
        (
            "a/b;q=0.1, image/jls; q=0.9, image/jp2;q=0.9, image/png;q=0",
            [Form("image/jls", False), Form("image/jp2", False), Form("a/b", False)],
        ),
        # members that cannot be parsed are skipped
        ("nonsense, */*", [ANY]),
        ("a/b;q=x;=, */*", [ANY]),
        (";;;, text/html;;charset=utf-8 ; , */*", [Form("text/html", False), ANY]),
    ],
)
def test_an_accept_header_gives_forms_in_the_order_wanted(header: str, forms: list[Form]) -> None:
    assert list(accepted_forms(header)) == forms


@pytest.mark.parametrize(
    ("header", "taken", "refused"),
    [
        # M-10, G-05: q=0 takes out of a range what is narrower, and nothing else
        ("image/jpeg;q=0, */*", ("image/png", "text/html"), ("image/jpeg",)),
        ("image/*;q=0, */*", ("text/html",), ("image/jpeg", "image/png")),
        ("image/jpeg;q=0, image/*", ("image/png",), ("image/jpeg", "text/html")),
        ("*/*;q=0, image/*", ("image/png",), ("text/html",)),
        ("image/*;q=0, image/png", ("image/png",), ("image/jpeg",)),
        ("image/png;q=0, image/png", ("image/png",), ()),
        (
            'multipart/related; type="image/jls";q=0, multipart/related',
            ("image/jp2",),
            ("image/jls",),
        ),
    ],
)
def test_what_is_refused_is_taken_out_of_a_range(
    header: str, taken: Sequence[str], refused: Sequence[str]
) -> None:
    (form,) = accepted_forms(header)
    assert all(map(form.covers, taken))
    assert not any(map(form.covers, refused))


def test_a_quoted_comma_does_not_end_a_member() -> None:
    parsed = parse_accept('a/b; x="1, 2\\" 3", c/d')
    assert [media.type for media in parsed] == ["a/b", "c/d"]
    assert parsed[0].get("x") == '1, 2" 3'


def test_a_content_type_keeps_its_parameters() -> None:
    media = parse_media_type('multipart/related; boundary="a b"; type="application/dicom"')
    assert media == MediaType(
        "multipart/related", (("boundary", "a b"), ("type", "application/dicom"))
    )


@pytest.mark.parametrize("text", ["", "no-slash", "a/b; =", "x" * 10000])
def test_what_is_no_media_type_is_none(text: str) -> None:
    assert parse_media_type(text) is None


@pytest.mark.parametrize(
    ("wanted", "media_type", "covered"),
    [
        ("image/*", "image/jls", True),
        ("image/*", "imagex/jls", False),
        ("*/*", "a/b", True),
        ("a/b", "a/c", False),
    ],
)
def test_a_range_covers_its_types(wanted: str, media_type: str, covered: bool) -> None:
    assert MediaType(wanted).covers(media_type) is covered


@pytest.mark.parametrize("piece", ["\\", '"', ";", "a/b;x=", ",", 'a/b;x="\\'])
def test_hostile_headers_are_parsed_quickly(piece: str) -> None:  # Z-05
    with costs_at_most(1):
        parse_accept('multipart/related; type="' + piece * 10000)
        parse_accept(piece * 10000)
