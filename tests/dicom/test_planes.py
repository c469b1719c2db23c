"""Where frames lie in the patient, and which pixels lie over each other."""

from dataclasses import replace
from typing import Any

import pytest

from app.dicom.document import Document
from app.dicom.planes import Mapping, Plane, distance, lies_on, mapping_of, plane_of
from tests.dicom.test_appearance import json_of

AXIAL = Plane("1.2", (0, 0, 5), (0.5, 0, 0), (0, 2, 0), 4)
PLAIN: dict[str, Any] = {
    "00200052": "1.2",
    "00200032": [0, 0, 5],
    "00200037": [1, 0, 0, 0, 1, 0],
    "00280030": [2, 0.5],
    "00180050": 4,
}


def test_a_plane_is_said_by_the_image_or_its_functional_groups() -> None:
    assert plane_of(Document(json_of(PLAIN)), 1) == AXIAL
    shared: dict[str, Any] = {
        "00209116": [{"00200037": [1, 0, 0, 0, 1, 0]}],
        "00289110": [{"00280030": [2, 0.5], "00180050": 4}],
    }
    frames = [{"00209113": [{"00200032": [0, 0, z]}]} for z in (3, 5)]
    groups = Document(json_of({"00200052": "1.2", "52009229": [shared], "52009230": frames}))
    assert plane_of(groups, 2) == AXIAL
    assert plane_of(groups, 1) == replace(AXIAL, position=(0, 0, 3))
    del shared["00289110"][0]["00180050"]
    thin = Document(json_of({"00200052": "1.2", "52009229": [shared], "52009230": frames}))
    assert plane_of(thin, 2) == replace(AXIAL, thickness=0)


@pytest.mark.parametrize("missing", ["00200032", "00200037", "00280030"])
def test_what_is_not_said_is_no_plane(missing: str) -> None:
    assert plane_of(Document(json_of(PLAIN | {missing: [0, 0]})), 1) is None
    without = {tag: value for tag, value in PLAIN.items() if tag != missing}
    assert plane_of(Document(json_of(without)), 1) is None


@pytest.mark.parametrize(
    ("other", "away", "same"),
    [
        (AXIAL, 0, True),
        (replace(AXIAL, position=(100, -7, 6.9)), 1.9, True),
        (replace(AXIAL, position=(0, 0, 7)), 2, False),
        (replace(AXIAL, across=(-3, 0, 0)), 0, True),
        (replace(AXIAL, frame_of_reference="1.3"), None, False),
        (replace(AXIAL, across=(0, 0, 1)), None, False),
        (replace(AXIAL, across=(0, 0, 0)), None, False),
    ],
)
def test_parallel_planes_have_a_distance(other: Plane, away: float | None, same: bool) -> None:
    assert distance(AXIAL, other) == pytest.approx(away)
    assert lies_on(AXIAL, other) is same


def test_pixels_of_one_plane_have_places_on_another() -> None:
    assert mapping_of(AXIAL, AXIAL) == Mapping()
    coarse = replace(AXIAL, position=(1, 0, 5), across=(1, 0, 0), down=(0, 1, 0))
    assert mapping_of(AXIAL, coarse) == Mapping((0, 2, 0), (-1, 0, 0.5))
    turned = replace(AXIAL, across=(0, 2, 0), down=(0.5, 0, 0))
    assert mapping_of(AXIAL, turned) == Mapping((0, 0, 1), (0, 1, 0))
