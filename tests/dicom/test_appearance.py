"""What an Instance says about its display, wherever it says it."""

from base64 import b64encode
from typing import Any

import pytest

from app.dicom.appearance import (
    MOST_PIXELS,
    Appearance,
    appearance_of,
    bulk_paths,
    check_size,
    frame_seconds,
)
from app.dicom.document import Document
from app.dicom.voi import Window
from app.errors import InvalidDataset

NATIVE = "1.2.840.10008.1.2.1"
PLAIN = {"00280010": 4, "00280011": 6, "00280100": 16, "00280101": 12}


def json_of(values: dict[str, Any]) -> dict[str, Any]:
    """Return DICOM JSON: a value, a list of values, or a list of Data Sets."""
    found: dict[str, Any] = {}
    for tag, value in values.items():
        several = value if isinstance(value, list) else [value]
        found[tag] = {
            "vr": "",
            "Value": [json_of(one) if isinstance(one, dict) else one for one in several],
        }
    return found


def appearance(values: dict[str, Any], frame: int = 1) -> Appearance:
    return appearance_of(Document(json_of(PLAIN | values)), NATIVE, frame)


def test_the_values_of_a_frame_go_before_shared_ones_and_those_of_the_image() -> None:
    top = {"00281050": 1, "00281051": 10, "00281052": -5, "00281053": 2, "00280030": [2, 1]}
    shared = {
        "00289132": [{"00281050": 2, "00281051": 20}],
        "00289145": [{"00281052": -6, "00281053": 3}],
        "00289110": [{"00280030": [3, 1]}],
    }
    own = {
        "00289132": [{"00281050": [3, 9], "00281051": [30, 9], "00281056": "sigmoid"}],
        "00289145": [{"00281052": -7, "00281053": 4}],
        "00289110": [{"00280030": [4, 1]}],
    }
    image = appearance(top)
    assert (image.window, image.aspect) == (Window(1, 10), 2)
    assert (image.modality.intercept, image.modality.slope) == (-5, 2)
    both = top | {"52009229": [shared], "52009230": [{}, own]}
    first = appearance(both, 1)
    assert (first.window, first.aspect, first.modality.slope) == (Window(2, 20), 3, 3)
    second = appearance(both, 2)
    assert (second.window, second.aspect) == (Window(3, 30, "SIGMOID"), 4)
    assert second.modality.slope == 4


@pytest.mark.parametrize(
    "window",
    [
        {"00281050": 40},
        {"00281051": 40},
        {"00281050": 40, "00281051": 0},
        {"00281050": 40, "00281051": 0.5, "00281056": "SOMETHING"},
    ],
)
def test_a_window_that_is_none_is_left_out(window: dict[str, Any]) -> None:
    assert appearance(window).window is None


@pytest.mark.parametrize(
    ("more", "scale"),
    [
        ({}, None),
        ({"00280100": 8, "00280101": 8}, 255),
        ({"00280100": 8, "00280101": 6}, 63),
        ({"00280100": 1, "00280101": 1}, 1),
        ({"00280100": 8, "00280101": 8, "00280103": 1}, None),
        ({"00280100": 8, "00280101": 8, "00281053": 2}, None),
        ({"00280100": 8, "00280101": 8, "0062000E": 100}, 100),
        ({"00280100": 8, "00280101": 8, "00620001": "LABELMAP"}, None),
        ({"7FE00008": "", "00280100": 32}, None),
        ({"00280101": -1}, None),
    ],
)
def test_few_bits_are_shades_by_themselves(more: dict[str, Any], scale: float | None) -> None:
    assert appearance(more).full_scale == scale


@pytest.mark.parametrize(
    ("more", "inverted"),
    [
        ({"00280004": "MONOCHROME1"}, True),
        ({"00280004": "MONOCHROME2"}, False),
        ({"20500020": "INVERSE"}, True),
        ({"00280004": "MONOCHROME1", "20500020": "INVERSE"}, True),
        ({"20500020": "IDENTITY"}, False),
    ],
)
def test_white_may_be_black(more: dict[str, Any], inverted: bool) -> None:
    assert appearance(more).inverted is inverted


def test_padding_is_a_value_or_a_range() -> None:
    assert appearance({}).padding is None
    assert appearance({"00280120": 7}).padding == (7, 7)
    assert appearance({"00280120": 7, "00280121": -7}).padding == (-7, 7)


@pytest.mark.parametrize(
    ("more", "aspect"),
    [
        ({}, 1),
        ({"00280034": [2, 1]}, 2),
        ({"00181164": [0.5, 1], "00280034": [2, 1]}, 0.5),
        ({"00280030": [0, 1]}, 1),
        ({"00280030": [1e9, 1]}, 1),
        ({"00280030": 5}, 1),
    ],
)
def test_pixels_need_not_be_square(more: dict[str, Any], aspect: float) -> None:
    assert appearance(more).aspect == aspect


def test_floats_are_of_their_own_size() -> None:
    assert appearance({"7FE00008": ""}).pixels.bits_allocated == 32
    double = appearance({"7FE00009": "", "00280103": 1})
    assert (double.pixels.bits_allocated, double.pixels.pixel_representation) == (64, 0)


def test_a_palette_needs_its_three_tables() -> None:
    palette: dict[str, Any] = {"00280004": "PALETTE COLOR"}
    for colour in "123":
        with pytest.raises(InvalidDataset):
            appearance(palette)
        palette[f"0028110{colour}"] = [3, 0, 16]
        kind = "2" if colour == "2" else "0"
        words = [0, 1, 0, 1, 2, 512] if kind == "2" else [0, 256, 512]
        palette[f"002812{kind}{colour}"] = words
    red, green, blue = appearance(palette).palette or (None, None, None)
    for table in (red, green, blue):
        assert table is not None
        assert table.entries.tolist() == [0, 256, 512]


@pytest.mark.parametrize(
    "octets", [bytes([0, 1, 10, 1, 2, 30]), bytes([0, 0, 1, 0, 10, 0, 1, 0, 2, 0, 30, 0])]
)
def test_segments_of_entries_of_8_bits_are_octets_or_words(octets: bytes) -> None:
    binary = {"vr": "OW", "InlineBinary": b64encode(octets).decode()}
    members = json_of(PLAIN | {"00280004": "PALETTE COLOR"})
    for colour in "123":
        members |= json_of({f"0028110{colour}": [3, 0, 8]}) | {f"0028122{colour}": binary}
    palette = appearance_of(Document(members), NATIVE, 1).palette
    assert palette is not None
    assert [table.entries.tolist() for table in palette] == [[10, 20, 30]] * 3


def test_a_colour_profile_may_be_that_of_the_optical_path() -> None:
    path = {"00282000": {"vr": "OB", "InlineBinary": "AQI="}}
    members = json_of(PLAIN) | {"00480105": {"vr": "SQ", "Value": [path]}}
    assert appearance_of(Document(members), NATIVE, 1).icc_profile == b"\1\2"


def test_only_bulk_values_of_the_frame_are_read() -> None:
    paths = [
        "7FE00010",
        "00283010/1/00283006",
        "00281201",
        "00281223",
        "60023000",
        "60203000",
        "52009230/2/00289132/1/00283010/1/00283006",
        "52009230/3/00289132/1/00283010/1/00283006",
    ]
    assert bulk_paths(paths, 3) == [*paths[1:5], paths[7]]


@pytest.mark.parametrize("missing", ["00280010", "00280011", "00280100"])
def test_pixels_have_to_be_described(missing: str) -> None:
    values = {tag: value for tag, value in PLAIN.items() if tag != missing}
    with pytest.raises(InvalidDataset):
        appearance_of(Document(json_of(values)), NATIVE, 1)


def test_a_frame_that_is_too_large_is_refused() -> None:
    check_size(appearance({}), 2**31)
    with pytest.raises(InvalidDataset, match="limit"):
        check_size(appearance({}), 10)
    side = int(MOST_PIXELS**0.5) + 1
    with pytest.raises(InvalidDataset, match="pixels"):
        check_size(appearance({"00280010": side, "00280011": side}), 2**40)


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({"00181063": 40}, 0.04),
        ({"00181063": 0, "00082144": 20}, 0.05),
        ({"00180040": 4}, 0.25),
        ({"00180040": -1}, 0.1),
        ({}, 0.1),
    ],
)
def test_frames_are_shown_as_long_as_they_say(values: dict[str, Any], seconds: float) -> None:
    assert frame_seconds(Document(json_of(values))) == seconds
