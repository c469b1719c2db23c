"""What a presentation state says, and what is then seen."""

from typing import Any

import numpy as np
import pytest

from app.dicom.appearance import Appearance, appearance_of
from app.dicom.document import Document
from app.dicom.presentation import Graphic, Presentation, Shutter, Text, place
from app.dicom.presentation_state import present, references, refers_to
from app.dicom.presenting import present_picture
from app.dicom.viewport import Viewport
from app.dicom.voi import Window
from tests.dicom.test_appearance import json_of

IMAGE = Document(
    json_of(
        {
            "00280010": 10,
            "00280011": 20,
            "00280100": 16,
            "00280004": "MONOCHROME1",
            "00281052": -1000,
            "00281050": 1,
            "00281051": 2,
            "00280030": [2, 1],
        }
    )
)
MINE = {"00081140": [{"00081155": "1.2"}]}
MY_SECOND = {"00081140": [{"00081155": "1.2", "00081160": 2}]}
OTHER = {"00081140": [{"00081155": "1.3"}]}


def presented(state: dict[str, Any], frame: int = 1) -> Appearance:
    image = appearance_of(IMAGE, "1.2.840.10008.1.2.1", frame)
    return present(image, Document(json_of(state)), "1.2", frame)


def geometry(state: dict[str, Any], frame: int = 1) -> Presentation:
    found = presented(state, frame).presentation
    assert found is not None
    return found


def test_the_grey_scale_is_that_of_the_state_alone() -> None:
    nothing = presented({})
    assert (nothing.window, nothing.inverted, nothing.aspect) == (None, False, 2)
    assert nothing.modality.is_identity
    voi = [
        OTHER | {"00281050": 7, "00281051": 70},
        MY_SECOND | {"00281050": 8, "00281051": 80},
        {"00281050": 9, "00281051": 90},
    ]
    state = {"00283110": voi, "00281052": -5, "20500020": "INVERSE"}
    first, second = presented(state), presented(state, 2)
    assert (first.window, first.modality.intercept) == (Window(9, 90), -5)
    assert (second.window, first.inverted) == (Window(8, 80), True)


@pytest.mark.parametrize(
    ("area", "shown", "aspect"),
    [
        ({}, None, 2),
        ({"00700052": [1, 1], "00700053": [20, 10]}, (0, 0, 20, 10), 2),
        ({"00700052": [5, 3], "00700053": [8, 6], "00700102": [1, 1]}, (4, 2, 8, 6), 1),
        ({"00700052": [-5, 0], "00700053": [99, 6], "00700101": [3, 1]}, (0, 0, 20, 6), 3),
        ({"00700052": [50, 3], "00700053": [60, 6]}, None, 2),
        (OTHER | {"00700052": [5, 3], "00700053": [8, 6]}, None, 2),
    ],
)
def test_an_area_is_displayed(
    area: dict[str, Any], shown: tuple[int, ...] | None, aspect: float
) -> None:
    appearance = presented({"0070005A": [area]})
    assert appearance.presentation is not None
    assert (appearance.presentation.area, appearance.aspect) == (shown, aspect)


@pytest.mark.parametrize(
    ("state", "shutter"),
    [
        ({}, None),
        (
            {
                "00181600": ["RECTANGULAR", "CIRCULAR", "POLYGONAL"],
                "00181602": 2,
                "00181604": 9,
                "00181606": 3,
                "00181608": 8,
                "00181610": [5, 6],
                "00181612": 4,
                "00181620": [1, 2, 3, 4, 5, 6],
                "00181622": 0xFFFF,
            },
            Shutter((1, 2, 8, 7), (5, 4, 4), ((1, 0), (3, 2), (5, 4)), 255),
        ),
        ({"00181600": ["RECTANGULAR", "CIRCULAR"], "00181602": 2}, Shutter()),
    ],
)
def test_a_shutter_has_shapes(state: dict[str, Any], shutter: Shutter | None) -> None:
    assert geometry(state).shutter == shutter


def test_what_is_drawn_are_graphics_and_texts() -> None:
    graphic = {"00700023": "POLYLINE", "00700022": [1, 2, 3, 4], "00700005": "PIXEL"}
    filled = {
        "00700023": "CIRCLE",
        "00700022": [0, 0, 1, 1],
        "00700024": "Y",
        "00700005": "DISPLAY",
    }
    boxed = {"00700006": "one\ntwo", "00700010": [1, 2], "00700003": "PIXEL"}
    anchored = {"00700006": "here", "00700014": [0.5, 0.5], "00700004": "DISPLAY"}
    state = {
        "00700001": [
            MINE
            | {
                "00700009": [graphic, filled, {"00700023": "POINT"}],
                "00700008": [boxed, anchored, {"00700006": "nowhere"}],
            },
            OTHER | {"00700009": [graphic]},
        ],
        "00700042": 450,
        "00700041": "Y",
    }
    found = geometry(state)
    assert found.graphics == (
        Graphic("POLYLINE", ((1, 2), (3, 4)), filled=False, in_pixels=True),
        Graphic("CIRCLE", ((0, 0), (1, 1)), filled=True, in_pixels=False),
    )
    assert found.texts == (
        Text(("one", "two"), (1, 2), in_pixels=True),
        Text(("here",), (0.5, 0.5), in_pixels=False),
    )
    assert (found.rotation, found.flipped) == (90, True)


def test_a_state_says_which_images_it_is_for() -> None:
    image = {"00081155": "1.2", "00081160": [3, 4]}
    state = Document(json_of({"00081115": [{"0020000E": "1.9", "00081140": [image]}]}))
    (one,) = references(state)
    assert (one.series, one.instance, one.frames) == ("1.9", "1.2", (3, 4))
    assert refers_to(state, "1.2")
    assert not refers_to(state, "1.3")


RAMP = np.arange(200, dtype=np.uint8).reshape(10, 20)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_picture_and_its_points_are_turned_alike(rotation: int, flipped: bool) -> None:
    area = (4, 2, 12, 8)
    presentation = Presentation(area, rotation, flipped)
    shown = present_picture(RAMP.copy(), presentation, None, 1.0)
    assert shown.shape == ((6, 8) if rotation % 180 == 0 else (8, 6))
    for x, y in ((4, 2), (7, 5), (11, 7)):
        ((across, down),) = place([(x + 0.5, y + 0.5)], presentation, area)
        assert shown[int(down * shown.shape[0]), int(across * shown.shape[1])] == RAMP[y, x]


def test_rotation_is_clockwise_and_comes_before_the_flip() -> None:
    turned = present_picture(RAMP.copy(), Presentation(rotation=90), None, 1.0)
    assert (turned == np.rot90(RAMP, -1)).all()
    both = present_picture(RAMP.copy(), Presentation(rotation=90, flipped=True), None, 1.0)
    assert (both == np.rot90(RAMP, -1)[:, ::-1]).all()


@pytest.mark.parametrize(("rotation", "shape"), [(0, (40, 40)), (90, (40, 40)), (180, (40, 40))])
def test_a_viewport_is_for_what_is_shown(rotation: int, shape: tuple[int, int]) -> None:
    presentation = Presentation(rotation=rotation)
    assert present_picture(RAMP.copy(), presentation, Viewport(40, 40), 2.0).shape == shape


@pytest.mark.parametrize(
    ("shutter", "shown"),
    [
        (Shutter((2, 1, 4, 3)), (slice(1, 4), slice(2, 5))),
        (Shutter(polygon=((1.5, 0.5), (4.5, 0.5), (4.5, 3.5), (1.5, 3.5))), None),
    ],
)
def test_a_shutter_hides_what_is_outside(shutter: Shutter, shown: Any) -> None:
    picture = np.full((10, 20), 200, np.uint8)
    seen = present_picture(picture, Presentation(shutter=shutter), None, 1.0) == 200
    expected = np.zeros((10, 20), np.bool_)
    expected[shown or (slice(1, 4), slice(2, 5))] = True
    assert (seen == expected).all()


def test_a_round_shutter_is_round() -> None:
    picture = np.full((11, 11), 200, np.uint8)
    circle = Shutter(circle=(5, 5, 3), shade=9)
    seen = present_picture(picture, Presentation(shutter=circle), None, 1.0)
    assert seen[5, 2] == seen[2, 5] == 200
    assert seen[0, 0] == seen[2, 2] == 9


def test_graphics_and_texts_are_drawn_on_what_is_shown() -> None:
    graphics = (
        Graphic("POLYLINE", ((0, 0), (40, 0)), filled=False, in_pixels=True),
        Graphic("CIRCLE", ((20, 20), (25, 20)), filled=True, in_pixels=True),
        Graphic("ELLIPSE", ((0.6, 0.8), (0.8, 0.8), (0.7, 0.7), (0.7, 0.9)), False, False),
        Graphic("CIRCLE", ((1, 1),), filled=True, in_pixels=True),
    )
    texts = (Text(("Hi",), (2, 30), in_pixels=True),)
    picture = np.zeros((40, 60), np.uint8)
    shown = present_picture(picture, Presentation(graphics=graphics, texts=texts), None, 1.0)
    assert (shown[0, :40] == 255).all()
    assert shown[0, 45] == 0
    assert shown[20, 20] == shown[23, 20] == 255
    assert shown[20, 30] == 0
    assert (shown[26:39, 34:50] == 255).any()
    assert shown[31, 41] == 0
    assert (shown[30:37, 1:12] == 255).any()


def test_coordinates_far_away_are_drawn_nowhere() -> None:
    far = {"00700006": "far", "00700014": [1e300, -1e300]}
    line = {"00700023": "POINT", "00700022": [1e308, 1e308, -1e308, 1e308]}
    state = {
        "00700001": [{"00700008": [far], "00700009": [line, line | {"00700022": [1e300, 0]}]}],
        "00181600": "CIRCULAR",
        "00181610": [1e300, 1e300],
        "00181612": -1e300,
    }
    picture = present_picture(np.full((10, 20), 9, np.uint8), geometry(state), None, 1.0)
    assert set(np.unique(picture)) <= {0, 9}
