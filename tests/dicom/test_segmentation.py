"""Which frames of a segmentation lie over an image, in which colours, and what is then seen."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.dicom.appearance import Appearance
from app.dicom.document import Document
from app.dicom.layers import OPACITY, draw_layers
from app.dicom.pixel_description import PixelDescription
from app.dicom.planes import Mapping
from app.dicom.segmentation import (
    MOST_LAYERS,
    Layer,
    SegmentFrame,
    frames_over,
    lab_colour,
    segment_colours,
)
from app.errors import InvalidDataset, InvalidRequest
from tests.cost import costs_at_most
from tests.dicom.test_appearance import json_of
from tests.dicom.test_planes import PLAIN

SIZE = {"00280010": 2, "00280011": 3}
IMAGE = Document(json_of(SIZE))
RED, GREEN = (230, 75, 60), (60, 180, 75)


def derived(instance: str, segment: int, *frames: int) -> dict[str, Any]:
    source: dict[str, Any] = {"00081155": instance}
    if frames:
        source["00081160"] = list(frames)
    return {
        "00089124": [{"00082112": [source]}],
        "0062000A": [{"0062000B": segment}],
    }


def segmentation(*frames: dict[str, Any], **more: Any) -> Document:
    return Document(json_of({**SIZE, "52009230": list(frames), **more}))


def test_frames_lie_over_the_image_that_they_were_derived_from() -> None:
    found = segmentation(derived("1.2", 1), derived("1.3", 1), derived("1.2", 2, 5, 6))
    assert [frame.number for frame in frames_over(found, IMAGE, "1.2", 1)] == [1]
    assert [frame.number for frame in frames_over(found, IMAGE, "1.2", 6)] == [1, 3]
    first, second = frames_over(found, IMAGE, "1.2", 6)
    assert (first.colours, second.colours) == (((1, RED),), ((1, GREEN),))
    assert first.mapping == Mapping()
    shared = {"52009229": [derived("1.4", 2)]}
    (frame,) = frames_over(segmentation({}, **shared), IMAGE, "1.4", 1)
    assert frame.colours == ((1, GREEN),)
    assert frames_over(segmentation({}), IMAGE, "1.2", 1) == []


def test_frames_without_a_source_are_placed_by_their_plane() -> None:
    image = Document(json_of({**SIZE, **PLAIN}))
    shared = {
        "00209116": [{"00200037": [1, 0, 0, 0, 1, 0]}],
        "00289110": [{"00280030": [2, 1]}],
    }
    frames = [{"00209113": [{"00200032": [0, 0, z]}]} for z in (2, 5, 8)]
    placed = segmentation(*frames, **{"00200052": "1.2", "52009229": [shared]})
    (frame,) = frames_over(placed, image, "1.2", 1)
    assert (frame.number, frame.colours) == (2, ((1, RED),))
    assert frame.mapping == Mapping((0, 1, 0), (0, 0, 0.5))


def test_a_source_in_another_frame_of_reference_lies_under_its_frame() -> None:
    image = Document(json_of({**SIZE, **PLAIN}))
    own = {**PLAIN, "00200032": [7, 7, 7], "00200052": "1.9"}
    (frame,) = frames_over(segmentation(derived("1.2", 1), **own), image, "1.2", 1)
    assert frame.mapping == Mapping()


def test_another_size_without_a_place_is_refused() -> None:
    large = segmentation(derived("1.2", 1), **{"00280010": 20})
    with pytest.raises(InvalidRequest):
        frames_over(large, IMAGE, "1.2", 1)


def test_not_too_many_frames_are_drawn() -> None:
    many = segmentation(*[derived("1.2", 1)] * (MOST_LAYERS + 1))
    assert len(frames_over(many, IMAGE, "1.2", 1)) == MOST_LAYERS


@pytest.mark.parametrize(
    ("lab", "colour"),
    [
        ((65535, 32896, 32896), (255, 255, 255)),
        ((0, 32896, 32896), (0, 0, 0)),
        ((35577, 53621, 50844), (255, 0, 0)),  # L 54.29, a 80.81, b 69.89 (D50)
        ((34988, 32896, 32896), (127, 127, 127)),
    ],
)
def test_cielab_becomes_srgb(lab: tuple[int, int, int], colour: tuple[int, int, int]) -> None:
    assert np.abs(np.subtract(lab_colour(*lab), colour)).max() <= 2


def test_segments_have_the_colours_that_they_recommend_or_ours() -> None:
    segments = [
        {"00620004": 1, "0062000D": [65535, 32896, 32896]},
        {"00620004": 2},
        {"0062000D": [0, 0, 0]},
    ]
    found = segmentation(derived("1.2", 1), derived("1.2", 7), **{"00620002": segments})
    assert segment_colours(found) == {1: (255, 255, 255), 2: GREEN}
    labels = segmentation(derived("1.2", 1), **{"00620002": segments, "00620001": "LABELMAP"})
    (frame,) = frames_over(labels, IMAGE, "1.2", 1)
    assert dict(frame.colours) == segment_colours(found)
    fractions = {"00620001": "FRACTIONAL", "0062000E": 200}
    assert (
        frames_over(segmentation(derived("1.2", 1), **fractions), IMAGE, "1.2", 1)[0].highest == 200
    )


def layer(values: list[list[int]], **more: Any) -> Layer:
    """Return a layer of 8 bits, red where it is 1."""
    array = np.array(values, np.uint8)
    pixels = PixelDescription(
        rows=array.shape[0],
        columns=array.shape[1],
        bits_allocated=8,
        bits_stored=8,
        photometric_interpretation="MONOCHROME2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    frame = SegmentFrame(1, ((1, (255, 0, 0)),), Mapping())
    return Layer(array.tobytes(), Appearance(pixels=pixels, high_bit=7), replace(frame, **more))


def test_the_image_is_seen_through_segments() -> None:
    grey = np.array([[100, 100, 200]], np.uint8)
    assert draw_layers(grey, [], 100) is grey
    shown = draw_layers(grey, [layer([[0, 1, 2]])], 100)
    red = round(100 + 155 * OPACITY)
    assert shown.tolist() == [[[100] * 3, [red, 55, 55], [200] * 3]]
    labels = ((1, (0, 0, 0)), (2, (255, 255, 255)))
    both = draw_layers(np.full((1, 3, 3), 100, np.uint8), [layer([[2, 1, 0]], colours=labels)], 100)
    assert both[0, :, 0].tolist() == [round(100 + 155 * OPACITY), 55, 100]


def test_fractions_cover_in_part() -> None:
    grey = np.zeros((1, 3), np.uint8)
    shown = draw_layers(grey, [layer([[0, 100, 200]], highest=200.0)], 100)
    assert shown[0, :, 0].tolist() == [0, round(255 * OPACITY / 2), round(255 * OPACITY)]


def test_a_layer_lies_where_its_mapping_says() -> None:
    grey = np.zeros((2, 4), np.uint8)
    half = Mapping((0, 1, 0), (-1, 0, 0.5))  # twice as wide, two pixels to the right
    shown = draw_layers(grey, [layer([[1, 1], [1, 0]], mapping=half)], 100)
    assert (shown[..., 0] > 0).astype(int).tolist() == [[0, 1, 1, 1], [0, 1, 1, 0]]


def test_a_layer_that_is_too_large_or_too_short_is_refused() -> None:
    with pytest.raises(InvalidDataset):
        draw_layers(np.zeros((1, 1), np.uint8), [layer([[1, 1]])], 1)
    with pytest.raises(InvalidDataset):
        draw_layers(np.zeros((1, 1), np.uint8), [replace(layer([[1]]), data=b"")], 100)


def test_thousands_of_frames_take_no_minutes() -> None:
    placed = [{"00209113": [{"00200032": [0, 0, z]}]} for z in range(4000)]
    shared = {
        "00209116": [{"00200037": [1, 0, 0, 0, 1, 0]}],
        "00289110": [{"00280030": [2, 1]}],
    }
    many = segmentation(*placed, **{"00200052": "1.2", "52009229": [shared]})
    with costs_at_most(5):
        (frame,) = frames_over(many, Document(json_of({**SIZE, **PLAIN})), "1.2", 1)
    assert frame.number == 6
