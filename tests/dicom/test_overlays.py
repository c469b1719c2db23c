"""Overlay planes over a frame, and beside it."""

from typing import Any

import numpy as np
import pytest

from app.dicom.document import Document
from app.dicom.overlays import Overlay, embedded_overlays, overlays_of
from app.dicom.pixel_description import PixelDescription


def members(bits: str, group: str = "6000", **more: Any) -> dict[str, Any]:
    values = {"0010": 2, "0011": 3, "0040": "G", **more}
    found = {f"{group}{key}": {"Value": [value]} for key, value in values.items()}
    found[f"{group}0050"] = {"Value": more.get("origin", [2, 1])}
    return found | {f"{group}3000": {"vr": "OW", "InlineBinary": bits}}


def test_graphics_lie_where_their_origin_is() -> None:
    document = Document(members("Kg=="))  # 0b101010
    (overlay,) = overlays_of(document, 1)
    assert (overlay.top, overlay.left) == (1, 0)
    drawn = overlay.draw((4, 4)).astype(int).tolist()
    assert drawn == [[0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("top", "left", "expected"),
    [(-1, 0, [[0, 0], [1, 1]][1:]), (0, -1, [[0, 1]]), (5, 0, [[0, 0]]), (0, 9, [[0, 0]])],
)
def test_what_is_outside_of_the_image_is_left_out(
    top: int, left: int, expected: list[list[int]]
) -> None:
    overlay = Overlay(top, left, 2, 2, b"\x0e")  # 0 1 / 1 1
    shown = overlay.draw((1, 2)).astype(int).tolist()
    if (top, left) == (0, -1):
        assert shown == [[1, 0]]
    else:
        assert shown == expected


def test_a_plane_of_several_belongs_to_its_frame() -> None:
    document = Document(
        members("/wA=", "6000", **{"0015": 2, "0051": 3})
    )  # six ones, then two and zeros
    assert overlays_of(document, 2) == ()
    first, second = overlays_of(document, 3)[0], overlays_of(document, 4)[0]
    assert overlays_of(document, 5) == ()
    assert first.draw((4, 4)).sum() == 6
    assert second.draw((4, 4)).sum() == 2


def test_regions_and_planes_without_size_or_bits_are_left_out() -> None:
    assert overlays_of(Document(members("Kg==", "6000", **{"0040": "R"})), 1) == ()
    assert overlays_of(Document(members("Kg==", "6000", **{"0010": 0})), 1) == ()
    assert overlays_of(Document(members("")), 1) == ()
    short = Overlay(0, 0, 100, 100, b"\xff")
    assert not short.draw((4, 4)).any()
    no_origin = members("Kg==", group="601E")
    del no_origin["601E0050"]
    assert overlays_of(Document(no_origin), 1)[0].top == 0
    assert np.any(overlays_of(Document(no_origin), 1)[0].draw((4, 4)))


def embedded(bit: int, **more: Any) -> dict[str, Any]:
    values = {"60000102": bit, "60000040": "G", **more}
    return {tag: {"Value": [value]} for tag, value in values.items()}


@pytest.mark.parametrize(
    ("bit", "more", "found"),
    [
        (12, {}, (12,)),
        (0, {}, ()),
        (11, {}, ()),  # of the pixel itself
        (16, {}, ()),
        (15, {"60000040": "R"}, ()),
        (15, {"60003000": "beside the pixels"}, ()),
        (15, {"60000015": 2, "60000051": 2}, ()),  # of frames 2 and 3
        (15, {"60000015": 2, "60000051": 1}, (15,)),
    ],
)
def test_graphics_in_unused_bits_are_found(
    bit: int, more: dict[str, Any], found: tuple[int, ...]
) -> None:
    pixels = PixelDescription(
        rows=1,
        columns=1,
        bits_allocated=16,
        bits_stored=12,
        photometric_interpretation="MONOCHROME2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    assert embedded_overlays(Document(embedded(bit, **more)), pixels, 11, 1) == found
