"""Query parameters of rendered resources (PS3.18 §8.3.5.1): texts to what use cases take."""

import math

from fastapi import Request

from app.archive.render import RenderRequest
from app.dicom.pictures import DEFAULT_QUALITY, PROFILES, Wanted
from app.dicom.uids import check_uid
from app.dicom.viewport import LARGEST_SIDE, Region, Viewport
from app.dicom.voi import Window
from app.errors import InvalidRequest
from app.web.accept import wanted_forms

ANNOTATIONS = ("patient", "technique")
_FUNCTIONS = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}


def render_request(request: Request) -> RenderRequest:
    """Return what the parameters of a rendered resource ask for.

    Raises:
        InvalidRequest: one of them is malformed.
    """
    given = request.query_params
    return RenderRequest(
        forms=wanted_forms(request),
        wanted=Wanted(
            quality=parse_quality(given.get("quality")),
            profile=_profile(given.get("iccprofile")),
            viewport=parse_viewport(given.get("viewport")),
            window=_window(given.get("window")),
        ),
        annotations=parse_annotation(given.get("annotation")),
        segmentation=_segmentation(given.get("segmentation")),
    )


def thumbnail_request(request: Request) -> RenderRequest:
    """Return what the parameters of a thumbnail ask for: a viewport, and no more.

    Raises:
        InvalidRequest: the viewport is malformed.
    """
    viewport = parse_viewport(request.query_params.get("viewport"))
    return RenderRequest(wanted_forms(request), Wanted(viewport=viewport))


def parse_quality(text: str | None) -> int:
    """Return a quality of 1 to 100."""
    if text is None:
        return DEFAULT_QUALITY
    if text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= 100:
        return int(text)
    raise InvalidRequest("A quality of 1 to 100 was expected")


def parse_annotation(text: str | None) -> tuple[str, ...]:
    """Return names of groups of annotations, each once."""
    names = dict.fromkeys(name.strip().lower() for name in (text or "").split(","))
    wanted = tuple(name for name in names if name)
    if not set(wanted) <= set(ANNOTATIONS):
        raise InvalidRequest("annotation=patient, technique, or both were expected")
    return wanted


def _segmentation(text: str | None) -> str:
    return "" if text is None else check_uid(text)


def parse_number(text: str, name: str) -> float:
    """Return a finite decimal number."""
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidRequest(f"{name} takes decimal numbers such as 12 or 0.5, none without end")
    return number


def parse_side(text: str, name: str) -> int:
    """Return a number of pixels of a side of a viewport."""
    side = parse_number(text, name)
    if not 1 <= side <= LARGEST_SIDE or side != int(side):
        raise InvalidRequest(f"{name} takes whole numbers of pixels, 1 to {LARGEST_SIDE}")
    return int(side)


def parse_viewport(text: str | None) -> Viewport | None:
    """Return the viewport of `vw,vh` or `vw,vh,sx,sy,sw,sh`; an empty one of the last is 0."""
    if text is None:
        return None
    columns, rows, *source = text.split(",") if text.count(",") in {1, 5} else ("", "")
    if not (columns and rows):
        raise InvalidRequest("viewport=width,height was expected, or four numbers of a region more")
    numbers = [parse_number(part, "viewport") if part.strip() else 0.0 for part in source]
    left, top, width, height = numbers or (0.0, 0.0, 0.0, 0.0)
    if left < 0 or top < 0:
        raise InvalidRequest("A region of the viewport begins within the image")
    region = Region(left, top, width, height)
    return Viewport(parse_side(columns, "viewport"), parse_side(rows, "viewport"), region)


def _window(text: str | None) -> Window | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    function = _FUNCTIONS.get(parts[-1].lower().replace("_", "-"))
    if len(parts) != 3 or function is None:
        raise InvalidRequest(
            "window=center,width,function was expected: linear, linear-exact or sigmoid"
        )
    return parse_window(parts[0], parts[1], function)


def parse_window(center: str, width: str, function: str = "LINEAR") -> Window:
    """Return a window whose width the standard allows."""
    window = Window(parse_number(center, "window"), parse_number(width, "window"), function)
    if not window.is_valid:
        raise InvalidRequest("The width of a linear window is 1 or more, of others more than 0")
    return window


def _profile(text: str | None) -> str:
    name = (text or "no").lower()
    if name not in PROFILES:
        raise InvalidRequest(f"iccprofile is one of {', '.join(PROFILES)}")
    return name
