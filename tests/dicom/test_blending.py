"""What a blending state shows over an image, how, and what is then seen."""

from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.dicom.appearance import appearance_of
from app.dicom.blending import (
    Blended,
    Candidate,
    candidates,
    opacity_of,
    superimposed,
    superimposed_references,
)
from app.dicom.document import Document
from app.dicom.layers import blend
from app.dicom.pictures import Wanted
from app.dicom.planes import Mapping, plane_of
from app.dicom.presentation_state import BLENDING, Reference, present, references, refers_to
from app.dicom.rendering import render_frame
from app.dicom.voi import Window
from app.errors import InvalidDataset
from tests.dicom.test_appearance import json_of
from tests.dicom.test_planes import PLAIN
from tests.dicom.test_rendering import describe

IMAGE = Document(json_of({"00280010": 1, "00280011": 2, "00280100": 8, "00280004": "MONOCHROME1"}))
NATIVE = "1.2.840.10008.1.2.1"


def part(position: str, center: int, *instances: str, **more: Any) -> dict[str, Any]:
    images = [{"00081155": instance} for instance in instances]
    return {
        "00700405": position,
        "00081115": [{"0020000E": "1.5", "00081140": images}],
        "00283110": [{"00281050": center, "00281051": 10}],
        **more,
    }


def state(**more: Any) -> Document:
    parts = [
        part("SUPERIMPOSED", 5, "1.8", "1.9", **{"0020000D": "1.1"}),
        part("UNDERLYING", 3, "1.7"),
    ]
    values: dict[str, Any] = {"00080016": BLENDING, "00700402": parts, "20500020": "INVERSE"}
    for colour, entries in zip("123", ([0, 255], [255, 0], [0, 0]), strict=True):
        values |= {f"0028110{colour}": [2, 0, 8], f"0028120{colour}": entries}
    return Document(json_of(values | more))


def test_a_state_is_for_the_images_under_others() -> None:
    assert references(state()) == [Reference("", "1.5", "1.7", ())]
    assert [refers_to(state(), uid) for uid in ("1.7", "1.8")] == [True, False]
    assert superimposed_references(state()) == [
        Reference("1.1", "1.5", "1.8", ()),
        Reference("1.1", "1.5", "1.9", ()),
    ]
    assert superimposed_references(Document({})) == []


def test_each_image_has_a_window_of_its_own() -> None:
    plain = appearance_of(IMAGE, NATIVE, 1)
    under = present(plain, state(), "1.7", 1)
    over = superimposed(plain, state(), "1.8", 1)
    assert (under.window, over.window) == (Window(3, 10), Window(5, 10))
    assert (under.tint is None, over.tint is None) == (True, False)
    assert not over.inverted
    with pytest.raises(InvalidDataset):
        superimposed(plain, state(**{"00281101": None}), "1.8", 1)


@pytest.mark.parametrize(("given", "opacity"), [(None, 0.5), (0.25, 0.25), (7, 1), (-1, 0)])
def test_opacity_is_a_share(given: float | None, opacity: float) -> None:
    assert opacity_of(state(**{"00700403": given})) == opacity


def test_frames_of_the_same_slice_are_candidates() -> None:
    plane = plane_of(Document(json_of(PLAIN)), 1)
    assert plane is not None
    shared = {
        "00209116": [{"00200037": [1, 0, 0, 0, 1, 0]}],
        "00289110": [{"00280030": [2, 1], "00180050": 6}],
    }
    frames = [{"00209113": [{"00200032": [0, 0, z]}]} for z in (2.5, 5, 9)]
    image = Document(
        json_of(
            {
                "00080018": "1.8",
                "00200052": "1.2",
                "00280008": 3,
                "52009229": [shared],
                "52009230": frames,
            }
        )
    )
    both = [Candidate(2.5, "1.8", 1), Candidate(0, "1.8", 2)]
    assert list(candidates(image, (), plane)) == both
    assert list(candidates(image, (2, 3), plane)) == both[1:]
    assert list(candidates(Document({}), (), plane)) == []
    assert list(candidates(image, (), replace(plane, frame_of_reference="1.3"))) == []


def test_colours_are_mixed_where_both_are() -> None:
    over = np.array([[[200, 0, 100]]], np.uint8)
    mixed = blend(np.array([[100, 100]], np.uint8), over, Mapping(), 0.25)
    assert mixed.tolist() == [[[125, 75, 100], [100, 100, 100]]]
    grey = blend(np.array([[100, 100]], np.uint8), np.array([[0, 200]], np.uint8), Mapping(), 0.5)
    assert grey[..., 0].tolist() == [[50, 150]]


def test_a_frame_is_rendered_under_another() -> None:
    frame, appearance = describe(np.array([[100, 100]], "<u1"), full_scale=255.0)
    other, _ = describe(np.array([[0, 200]], "<u1"))
    blended = Blended(other.data, appearance, Mapping(), 0.5)
    data = render_frame(frame.data, appearance, Wanted("image/png"), 2**20, (), blended)
    with Image.open(BytesIO(data)) as image:
        assert np.asarray(image)[..., 0].tolist() == [[50, 150]]
