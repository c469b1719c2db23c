"""What every answer tells a browser."""

from collections.abc import Sequence

import pytest

from app.web.said import said_path, words_of
from app.web.shielded import Shielded

WORDS = words_of(["/dicom-web/studies/{study}/series/{series}/frames/{frames}", "/api/v1/labels"])


async def answered(
    *headers: tuple[bytes, bytes],
    status: int = 200,
    scheme: str = "http",
    origins: Sequence[str] = (),
) -> list[tuple[bytes, bytes]]:
    """Return the headers that go out where an application sends these."""

    async def application(_: object, __: object, send: object) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})  # type: ignore[operator]

    sent: list[tuple[bytes, bytes]] = []

    async def send(message: object) -> None:
        sent.extend(message["headers"])  # type: ignore[index]

    shielded = Shielded(application, origins, WORDS)
    await shielded({"type": "http", "scheme": scheme}, None, send)  # type: ignore[arg-type]
    return sent


async def policy(content_type: bytes, *origins: str) -> str:
    sent = dict(await answered((b"content-type", content_type), origins=origins))
    return sent[b"content-security-policy"].decode()


@pytest.mark.parametrize(("scheme", "there"), [("https", True), ("http", False)])
async def test_strict_transport_is_asked_for_over_tls_alone(scheme: str, there: bool) -> None:
    assert (b"strict-transport-security" in dict(await answered(scheme=scheme))) is there


async def test_what_an_answer_says_itself_stands_once_and_as_it_is() -> None:
    said = ((b"X-Content-Type-Options", b"nosniff"), (b"Referrer-Policy", b"same-origin"))
    sent = await answered(*said, (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))
    names = [name.lower() for name, _ in sent]
    assert names.count(b"x-content-type-options") == names.count(b"referrer-policy") == 1
    assert (b"Referrer-Policy", b"same-origin") in sent
    assert names.count(b"set-cookie") == 2


@pytest.mark.parametrize(
    "content_type", [b"application/dicom+json", b"multipart/related; type=x", b"text/html", b""]
)
async def test_what_is_no_picture_loads_nothing_and_is_framed_by_nobody(
    content_type: bytes,
) -> None:
    assert await policy(content_type) == "default-src 'none'; sandbox; frame-ancestors 'none'"


@pytest.mark.parametrize(
    "content_type", [b"image/jpeg", b"image/svg+xml", b"video/mp4", b"IMAGE/PNG; a=b"]
)
async def test_pictures_run_nothing_and_are_framed_by_pages_that_are_listed(
    content_type: bytes,
) -> None:
    said = await policy(
        content_type, "https://viewer.example:8443", "https://x.example; script-src"
    )
    assert said.startswith("default-src 'none'; ")
    assert "; sandbox; frame-ancestors 'self' http://localhost:* " in said
    assert said.endswith(" https://viewer.example:8443")


async def test_a_document_in_pdf_is_left_to_the_viewer_of_the_browser() -> None:
    assert (await policy(b"application/pdf")).startswith("frame-ancestors 'self' ")


async def test_a_policy_of_its_own_is_only_told_who_may_frame() -> None:
    ours, theirs = b"sandbox; default-src 'none'", b"frame-ancestors 'none'"
    sent = dict(await answered((b"Content-Security-Policy", ours)))
    assert sent[b"Content-Security-Policy"].startswith(ours + b"; frame-ancestors 'self' ")
    sent = dict(await answered((b"content-security-policy", theirs)))
    assert sent[b"content-security-policy"] == theirs


async def test_what_is_known_already_keeps_its_policy() -> None:
    sent = dict(await answered(status=304))
    assert b"content-security-policy" not in sent
    assert sent[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize(("status", "there"), [(200, False), (404, True), (410, True)])
async def test_no_cache_keeps_a_problem(status: int, there: bool) -> None:
    assert (dict(await answered(status=status)).get(b"cache-control") == b"no-store") is there


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/dicom-web/studies/1.2.840.1/series/1.2.3/frames/1,12", None),
        (
            "/dicom-web/studies/DOE^JOHN/series/doe/frames/x",
            "/dicom-web/studies/*/series/*/frames/*",
        ),
        ("/api/v1/labels/trial:a", "/api/v1/labels/*"),
        ("/studies\n{}/4711-A/1234567890", "/*/*/*"),
        ("/19670131.1/" + "1." * 40, "/*/*"),
    ],
)
def test_of_a_path_words_of_ours_and_uids_are_said(path: str, said: str | None) -> None:
    assert said_path({"path": path, "fileroom.words": WORDS}) == (said or path)
