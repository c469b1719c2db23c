"""What is tried again, how often, and what is told of it."""

import logging

import httpx
import pytest

from app.errors import Unavailable
from app.objects import s3_uploads
from app.objects.bucket import Bucket
from app.objects.retries import tries
from app.objects.s3_uploads import Credentials, S3Uploads

BUCKET = Bucket("s3://objects/here", "http://127.0.0.1:9", None, "name", "secret")


class Server:
    """Answers by a list, and the last one for ever; an exception is raised instead."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, Exception):
            raise answer
        text = "<UploadId>one</UploadId>" if answer == 200 else "<Code>Busy</Code>"
        return httpx.Response(answer, text=text, headers={"etag": "tag"}, request=request)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_uploads, "FIRST_PAUSE", 0.001)


def client(server: Server) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(server))


def uploads() -> S3Uploads:
    return S3Uploads(BUCKET, Credentials("name", "secret"))


@pytest.mark.parametrize(
    "fault", [500, 503, 429, httpx.ConnectError("no way"), httpx.ReadTimeout("no answer")]
)
async def test_a_part_is_sent_again(fault: int | Exception) -> None:
    server = Server(fault, fault, 200)
    assert await uploads().send(client(server), "key", "upload", 1, b"data") == "tag"
    assert server.asked == 3


@pytest.mark.parametrize(("fault", "asked"), [(403, 1), (503, s3_uploads.TRIES)])
async def test_what_does_not_help_is_not_done_again_and_again(fault: int, asked: int) -> None:
    server = Server(fault)
    with pytest.raises(Unavailable):
        await uploads().send(client(server), "key", "upload", 1, b"data")
    assert server.asked == asked


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        (503, 2),
        (429, 2),
        (httpx.ConnectError("no way"), 2),
        (httpx.ConnectTimeout("no way"), 2),
        (500, 1),
        (504, 1),
        (httpx.ReadTimeout("no answer"), 1),
        (httpx.RemoteProtocolError("cut"), 1),
    ],
)
async def test_an_upload_is_begun_again_only_if_it_cannot_have_begun(
    fault: int | Exception, asked: int
) -> None:
    server = Server(fault, 200)
    if asked == 1:
        with pytest.raises(Unavailable):
            await uploads().begin(client(server), "key")
    else:
        assert await uploads().begin(client(server), "key") == "one"
    assert server.asked == asked


async def test_nothing_secret_is_told_of_a_new_try(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "app")
    caplog.set_level(logging.DEBUG, "stamina")
    caplog.set_level(logging.DEBUG, "structlog")
    url = "https://bucket.example/key?X-Amz-Signature=5ecret"
    asked = 0
    async for attempt in tries(httpx.HTTPError, 3, 0.001):
        with attempt:
            asked += 1
            if asked < 3:
                raise httpx.ReadError(f"{url} failed")
    told = [record.getMessage() for record in caplog.records]
    assert [one.partition(",")[0] for one in told] == ["ReadError", "ReadError"]
    assert "5ecret" not in caplog.text


async def failing(errors: list[Exception]) -> None:
    """Try again as long as it is Unavailable; each try fails with the next of the errors."""
    async for attempt in tries(Unavailable, 3, 0.001):
        with attempt:
            raise errors.pop(0)


async def test_the_last_error_comes_through_and_others_at_once() -> None:
    errors: list[Exception] = [Unavailable(f"no {number}") for number in range(1, 5)]
    with pytest.raises(Unavailable, match="no 3"):
        await failing(errors)
    assert len(errors) == 1
    with pytest.raises(KeyError):
        await failing([KeyError("at once"), *errors])
