from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidMultipart, InvalidRequest, TooLarge
from app.mime.multipart import PartLimits, closing, part_header, read_parts

LIMITS = PartLimits(parts=1000, header_bytes=1000)
Parts = list[tuple[dict[str, str], bytes]]


async def stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


async def read(
    body: bytes, boundary: str = "b", size: int = 64, limits: PartLimits = LIMITS
) -> Parts:
    return [
        (dict(part.headers), b"".join([piece async for piece in part]))
        async for part in read_parts(stream(cut(body, size)), boundary, limits)
    ]


ONE = [({"content-type": "application/dicom"}, b"DICM")]
TYPE = b"Content-Type: application/dicom\r\n\r\nDICM"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\n" + TYPE + b"\r\n--b--",
        b"--b\r\n" + TYPE + b"\r\n--b--\r\n",
        b"\r\n--b\r\n" + TYPE + b"\r\n--b--",  # dicomweb-client
        b"a preamble\n--b\r\n" + TYPE + b"\r\n--b--",
        b"a preamble\r\nof -- two --b lines\r\n--b\r\n" + TYPE + b"\r\n--b--",
        b"--bb\r\n--b \t \r\n" + TYPE + b"\r\n--b--",
        b"--b\r\n" + TYPE + b"\r\n--b-- \r\nan epilogue\r\n--b\r\nnot a part",
        b"--b\r\ncontent-TYPE :application/dicom\r\n\r\nDICM\r\n--b--",
        b"--b\r\nContent-Type:\r\n application/dicom\r\n\r\nDICM\r\n--b--",
    ],
)
async def test_legal_forms_give_the_same_part(body: bytes, size: int) -> None:  # S-27
    assert await read(body, size=size) == ONE


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    ("body", "contents"),
    [
        (b"--b\r\n\r\nbare\r\n--b--", [b"bare"]),
        (b"--b\r\n\r\n\r\n--b--", [b""]),
        (b"--b\r\n\r\n--b--", [b""]),
        (b"--b\r\nA: 1\r\n\r\n--b\r\nA: 2\r\n\r\n\r\n--b--", [b"", b""]),
        (b"--b\r\n\r\n\r\n\r\n--b--", [b"\r\n"]),
        (b"--b\r\n\r\n\r\n--bx\r\n--b--", [b"\r\n--bx"]),
        (b"--b\r\n\r\nx\r\n--b-\r\n--b-x\r\n--b--", [b"x\r\n--b-\r\n--b-x"]),
        (b"--b\r\n\r\nx\r\r\n-\r\n--\r\n--c\r\n--b--", [b"x\r\r\n-\r\n--\r\n--c"]),
        (b"--b\r\n\r\nx\n--b\n\r\n--b--", [b"x\n--b\n"]),
        (b"--b\r\n\r\nx\r\n--b \tx\r\n--b--", [b"x\r\n--b \tx"]),
        (
            b"--b\r\n\r\nx\r\n--b" + b" " * 300 + b"\r\n\r\n--b--",
            [b"x\r\n--b" + b" " * 300 + b"\r\n"],
        ),
        (b"--b--", []),
        (b"\r\n--b--", []),
    ],
)
async def test_content_is_what_lies_between_delimiters(
    body: bytes, contents: list[bytes], size: int
) -> None:
    assert [content for _, content in await read(body, size=size)] == contents


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        b"--b",
        b"--b\r\n",
        b"--b\r\nA: 1\r\n",
        b"--b\r\nA: 1\r\n\r\nDICM",
        b"--b\r\nA: 1\r\n\r\nDICM\r\n--b",
        b"--b\r\nA: 1\r\n\r\nDICM\r\n--b-",
        b"--b\r\nA: 1\r\n\r\nDICM\r\n--b\r\n",
        b"--b\r\nA: 1\r\n\r\nDICM\r\n--c--\r\n",
        b"--b\r\nno colon\r\n\r\nDICM\r\n--b--",
        b"--b\r\n: no name\r\n\r\nDICM\r\n--b--",
    ],
)
async def test_a_malformed_or_unterminated_body_is_refused(body: bytes, size: int) -> None:  # S-23
    with pytest.raises(InvalidMultipart):
        await read(body, size=size)


@pytest.mark.parametrize("size", [1, 1000, 10**6])
@pytest.mark.parametrize("line", [b"text\r\n", b"\n--bx", b"--bx", b"\n--b-"])
async def test_a_preamble_is_short(line: bytes, size: int) -> None:
    part = b"\r\n--b\r\n\r\nx\r\n--b--"
    assert await read(line * (60_000 // len(line)) + part, size=size) == [({}, b"x")]
    with pytest.raises(InvalidMultipart, match="no boundary"):
        await read(line * (70_000 // len(line)) + part, size=size)


@pytest.mark.parametrize("boundary", ["", "x" * 71, "é", "a\r\nb"])
async def test_an_impossible_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(InvalidMultipart):
        await read(b"", boundary)


@given(
    contents=st.lists(st.text("\r\n-bx ", max_size=30), max_size=4),
    size=st.integers(1, 40),
    preamble=st.sampled_from([b"", b"\r\n", b"text\n"]),
)
@settings(max_examples=300, deadline=None)
async def test_what_is_written_is_read_however_it_is_cut(
    contents: list[str], size: int, preamble: bytes
) -> None:
    boundary = "b-b=b"  # no content can hold it, all can hold much of it
    body = preamble
    for number, content in enumerate(contents):
        body += part_header(boundary, {"N": str(number)}, first=number == 0) + content.encode()
    body += closing(boundary) if contents else b"--b-b=b--"
    expected = [({"n": str(n)}, content.encode()) for n, content in enumerate(contents)]
    assert await read(body, boundary, size) == expected


async def test_whole_chunks_of_content_pass_uncopied() -> None:
    chunk = bytes(100_000)
    chunks = [b"--b\r\n\r\n", chunk, chunk, b"\r\n--b--"]
    parts = read_parts(stream(chunks), "b", LIMITS)
    part = await anext(parts)
    assert [piece is chunk async for piece in part if len(piece) == len(chunk)][-1]


async def test_unread_content_is_skipped() -> None:
    body = b"--b\r\nN: 1\r\n\r\n" + bytes(500) + b"\r\n--b\r\nN: 2\r\n\r\nx\r\n--b--"
    names = [p.headers["n"] async for p in read_parts(stream(cut(body, 50)), "b", LIMITS)]
    assert names == ["1", "2"]


async def test_the_body_is_read_to_its_end() -> None:  # G-30
    left = stream([b"--b\r\n\r\nx\r\n--b--", b"epilogue", b"more"])
    async for _ in read_parts(left, "b", LIMITS):
        pass
    assert await anext(left, None) is None


async def test_too_many_parts_are_refused() -> None:  # Z-09
    body = b"--b" + b"\r\n\r\n\r\n--b" * 6 + b"--"
    with pytest.raises(TooLarge):
        await read(body, limits=PartLimits(5, 1000))


@pytest.mark.parametrize("end", [b"", b"\r\n\r\nx\r\n--b--"])
async def test_giant_header_fields_are_refused(end: bytes) -> None:  # Z-09
    with pytest.raises(TooLarge):
        await read(b"--b\r\nA: " + b"x" * 2000 + end)


async def test_header_text_is_utf8_or_latin1_and_the_first_of_two_counts() -> None:
    body = "--b\r\nA: é\r\nB: \xe9\r\na: 2\r\n\r\n\r\n--b--".encode("latin-1")
    assert (await read(body.replace(b"A: \xe9", "A: é".encode())))[0][0] == {"a": "é", "b": "é"}


def test_the_writer_puts_crlf_before_the_boundary_and_nothing_before_the_first() -> None:
    assert (
        part_header("b", {"Content-Type": "x/y"}, first=True) == b"--b\r\nContent-Type: x/y\r\n\r\n"
    )
    assert part_header("b", {"Content-Type": "x/y"}) == b"\r\n--b\r\nContent-Type: x/y\r\n\r\n"
    assert closing("b") == b"\r\n--b--\r\n"


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\rb"])
def test_a_header_value_begins_no_other_field(value: str) -> None:  # Z-03
    with pytest.raises(InvalidRequest):
        part_header("b", {"A": value})
