"""Frames (PS3.18 §10.4.1.1.6): the one hot route, a plain ASGI endpoint before the router.

Viewers ask for each frame by itself, thousands of times a minute, so nothing is spent here on
routing, dependencies or joining: path to reference, one look-up, one read, three messages.
"""

import re
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from fastapi import Response
from starlette.datastructures import State

from app.archive.context import Archive
from app.archive.frames import FoundFrames, find_frames, open_frames
from app.archive.originals import find_extent, read_stored
from app.dicom.transfer_syntaxes import MEDIA_TYPES
from app.dicom.uids import InstanceRef, check_uid
from app.errors import ArchiveError, InvalidRequest
from app.mime.multipart import closing, part_header
from app.objects.extents import FILES, Extent
from app.web import contract
from app.web.accept import forms_of
from app.web.audited import STUDY
from app.web.conditions import NONE, read_conditions
from app.web.direct import ROUTE
from app.web.faults import ASGIApp, Receive, Scope, Send
from app.web.problems import problem, problem_of
from app.web.responses import PRIVATE
from app.web.streams import answer_response, multipart_type, new_boundary

FRAMES = "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}"
_PATH = re.compile(r"/studies/([^/]+)/series/([^/]+)/instances/([^/]+)/frames/([^/]*)")
_NUMBER = re.compile(r"[0-9]{1,99}", re.ASCII)
_NO_FRAME = 2**31 - 1
"""Stands for all greater numbers: no Instance has so many frames."""
MOST_FRAMES = 100_000
"""Frames of one request."""
_WORTH_IT = 64 * 2**10
"""Bytes from which the kernel's sending costs less than reading and writing."""
_PLAIN_HEADERS = [(name.lower().encode(), value.encode()) for name, value in PRIVATE.items()]


@lru_cache(maxsize=4096)
def frame_numbers(text: str) -> tuple[int, ...]:
    """Return the 1-based frame numbers of a path's comma-separated list, in its order.

    Raises:
        InvalidRequest: something else than numbers from 1, or too many of them.
    """
    numbers = text.split(",", MOST_FRAMES)
    if len(numbers) > MOST_FRAMES:
        raise InvalidRequest(f"Ask for at most {MOST_FRAMES} frames at once")
    if not all(_NUMBER.fullmatch(number) and int(number) for number in numbers):
        raise InvalidRequest("Frame numbers from 1, separated by commas, were expected")
    return tuple(min(int(number), _NO_FRAME) for number in numbers)


class FramesRoute:
    """Answers requests for frames; all others go on to the application."""

    def __init__(self, app: ASGIApp, prefix: str, state: State) -> None:
        self.app = app
        self.prefix = prefix
        self.state = state
        self.template = prefix + FRAMES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        match = None
        if scope["type"] == "http" and "/frames/" in scope["path"]:
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if path.startswith(self.prefix):
                match = _PATH.fullmatch(path, len(self.prefix))
        if match is None:
            await self.app(scope, receive, send)
            return
        scope[ROUTE] = self.template
        if scope["method"] != "GET":
            await _other_method(scope["method"])(scope, receive, send)
            return
        try:
            await self._serve(match.groups(), scope, receive, send)
        except ArchiveError as error:
            if scope.get("fileroom.begun"):
                raise
            await problem_of(error)(scope, receive, send)

    async def _serve(
        self, names: tuple[str, ...], scope: Scope, receive: Receive, send: Send
    ) -> None:
        study, series, instance, frames = names
        archive: Archive = self.state.archive
        principal = await self.state.identity.principal(scope)
        ref = InstanceRef(check_uid(study), check_uid(series), check_uid(instance))
        scope[STUDY] = study
        header = b", ".join(value for name, value in scope["headers"] if name == b"accept")
        query = scope["query_string"]
        asked = parse_qs(query.decode("latin-1")).get("accept", ()) if query else ()
        forms = forms_of(header.decode("latin-1"), tuple(asked))
        found = await find_frames(archive, principal, ref, frame_numbers(frames), forms)
        conditions = read_conditions(scope["headers"])
        if conditions is NONE and len(found.frames) == 1 and found.is_plain:
            await _send_plain(archive, found, scope, send)
            return
        answer = await open_frames(archive, principal, found, conditions.settled_by)
        response = await answer_response(answer, conditions)
        scope["fileroom.begun"] = True
        await response(scope, receive, send)


def _other_method(method: str) -> Response:
    allow = {"Allow": "GET, HEAD, OPTIONS"}
    if method == "OPTIONS":
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=allow)
    return problem(HTTPStatus.METHOD_NOT_ALLOWED, "Frames can only be read", allow)


async def _send_plain(archive: Archive, found: FoundFrames, scope: Scope, send: Send) -> None:
    """Send one frame that is a plain range of the object: header, pixels, trailer."""
    instance, place = found.instance, found.frames[0]
    data: bytes | Extent | None = None
    if place.length >= _WORTH_IT and FILES in scope.get("extensions", ()):
        data = find_extent(archive, instance, place.offset, place.length)
    if data is None:
        data = await read_stored(archive, instance, place.offset, place.length)
    before, after, content_type = b"", b"", found.content_type
    if found.multipart:
        boundary = new_boundary()
        before = part_header(boundary, {"Content-Type": content_type}, first=True)
        after = closing(boundary)
        content_type = multipart_type(found.delivery.media_type, boundary)
    headers = [
        *_PLAIN_HEADERS,
        (b"content-type", content_type.encode()),
        (b"content-length", b"%d" % (len(before) + len(data) + len(after))),
        (b"vary", b"Accept"),
        (b"etag", b'%s"%s"' % (b"W/" if found.multipart else b"", found.version.encode())),
        *(() if found.multipart else ((b"accept-ranges", b"bytes"),)),
    ]
    scope["fileroom.begun"] = True
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if before:
        await send({"type": "http.response.body", "body": before, "more_body": True})
    await send({"type": "http.response.body", "body": data, "more_body": bool(after)})
    if after:
        await send({"type": "http.response.body", "body": after})


def _parameter(name: str, description: str, pattern: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": pattern},
        "description": description,
    }


_UID = r"^[0-9]+(\.[0-9]+)*$"
_NUMBERS = r"^[1-9][0-9]*(,[1-9][0-9]*)*$"
_FORMS: dict[str, Any] = {
    form: {}
    for media_type in MEDIA_TYPES
    for form in (f'multipart/related; type="{media_type}"', media_type)
}
"""What frames come in: octets, or the media type of what they are compressed as."""
_CONTRACT: dict[str, Any] = {
    "tags": ["Retrieve (WADO-RS)"],
    "summary": "Get Frames",
    "description": "Retrieve frames of an Instance (PS3.18 §10.4.1.1.6).",
    "parameters": [
        _parameter("study", "Study Instance UID", _UID),
        _parameter("series", "Series Instance UID", _UID),
        _parameter("instance", "SOP Instance UID", _UID),
        _parameter("frames", "Frame numbers from 1, separated by commas", _NUMBERS),
    ],
    "responses": {
        "200": {
            "description": "The frames in the order of the list, one a part",
            "content": _FORMS,
        },
        **{str(status): response for status, response in contract.READ_RANGES.items()},
    },
}
FRAMES_CONTRACT: dict[str, Any] = {FRAMES: {"get": {**_CONTRACT, "operationId": "get_frames"}}}
