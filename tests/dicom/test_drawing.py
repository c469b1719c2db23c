"""Lines, ellipses, areas and letters."""

import numpy as np
import pytest

from app.dicom.annotations import annotation_lines
from app.dicom.document import Document
from app.dicom.drawing import annotate, draw_lines, ellipse, inside, paint, write
from app.dicom.glyphs import HEIGHT, written
from app.dicom.presentation import Point
from tests.dicom.test_appearance import json_of


def drawn(points: list[Point], shape: tuple[int, int] = (5, 5)) -> list[list[int]]:
    covered = np.zeros(shape, np.bool_)
    draw_lines(covered, points)
    return [[int(x), int(y)] for y, x in np.argwhere(covered)]


@pytest.mark.parametrize(
    ("points", "pixels"),
    [
        ([(1, 1)], [[1, 1]]),
        ([(0, 2), (4, 2)], [[0, 2], [1, 2], [2, 2], [3, 2], [4, 2]]),
        ([(3, 4), (3, 2)], [[3, 2], [3, 3], [3, 4]]),
        ([(0, 0), (2, 2), (4, 0)], [[0, 0], [4, 0], [1, 1], [3, 1], [2, 2]]),
        ([(-9, 1), (1, 1)], [[0, 1], [1, 1]]),
        ([(9, 9)], []),
        ([(0, 0), (1e9, 0)], []),
        ([], []),
    ],
)
def test_lines_go_from_point_to_point(points: list[Point], pixels: list[list[int]]) -> None:
    assert drawn(points) == pixels


def test_an_ellipse_goes_through_the_ends_of_its_axes() -> None:
    points = np.array(ellipse(((0, 5), (10, 5)), ((5, 2), (5, 8))))
    for end in ((0, 5), (10, 5), (5, 2), (5, 8)):
        assert np.abs(points - end).sum(axis=1).min() < 1e-6
    assert points.min(axis=0).tolist() == pytest.approx([0, 2])


def test_an_area_has_the_pixels_within_its_edges() -> None:
    square: list[Point] = [(0.5, 0.5), (3.5, 0.5), (3.5, 2.5), (0.5, 2.5)]
    assert np.argwhere(inside(square, (5, 5))).tolist() == [
        [y, x] for y in (1, 2) for x in (1, 2, 3)
    ]


def shown(text: str) -> list[str]:
    """Return a line of text as rows of dots."""
    return ["".join(".#"[int(dot)] for dot in row).rstrip(".") for row in written(text)]


def test_marks_stand_over_and_under_letters() -> None:
    assert shown("Ü")[:4] == ["", ".#.#", "", "#...#"]
    assert shown("ü")[2:6] == ["", ".#.#", "", "#...#"]
    assert (written("Ä")[3:10] == written("A")[3:10]).all()
    assert (written("Ä") != written("A")).any()
    assert written("é")[2:4].any()
    assert not written("é")[:2].any()
    assert written("É")[:2].any()
    assert written("ç")[10].any()
    assert not written("Áé")[10].any()
    assert len({written(name).tobytes() for name in "eéèêëēėęě"}) == 9
    assert not written("í")[4].any()  # the mark stands for the dot


@pytest.mark.parametrize(
    ("text", "alike"),
    [("Καρολος", "KAPOΛOΣ"), ("Вера", "BEPA"), ("Йод", "Йод".upper()), ("A\u0301", "Á")],
)
def test_other_scripts_are_written_in_capitals(text: str, alike: str) -> None:
    assert (written(text) == written(alike)).all()


def test_no_letter_of_a_script_is_a_box_or_like_another() -> None:
    for letters in ("ΓΔΘΛΞΠΣΦΨΩABEZHIKMNOPTYX", "БГДЖЗИЙЛПУФЦЧШЩЪЫЭЮЯЄҐЂЋЉЊЏABEKMHOPCTX"):
        drawn = {written(letter).tobytes() for letter in letters}
        assert len(drawn | {written("山").tobytes()}) == len(letters) + 1
    assert not {written(letter).tobytes() for letter in "ßæÆøØœŒłŁđĐðþÞı"} & {
        written("山").tobytes()
    }


def test_strange_signs_are_boxes() -> None:
    assert (written("山") == written("川")).all()
    assert written("山").any()
    assert written("").shape == (HEIGHT, 0)
    assert written("\u0301").shape == (HEIGHT, 0)
    assert (written("A", 2)[::2, ::2] == written("A")).all()
    assert {written(sign).tobytes() for sign in "Il1O0"} != {written("I").tobytes()}


def test_text_has_a_dark_edge_and_may_be_cut() -> None:
    picture = np.full((20, 30), 100, np.uint8)
    write(picture, ["A"], (5, 5), 1)
    assert (picture[5 : 5 + HEIGHT, 5:10][written("A")[:, :5]] == 255).all()
    assert set(np.unique(picture)) == {0, 100, 255}
    for at in ((-3.0, -3.0), (28.0, 18.0), (500.0, 500.0)):
        write(picture, ["A", "B"], at, 1)


def test_corners_are_written_into() -> None:
    picture = np.full((100, 200, 3), 100, np.uint8)
    annotate(picture, (("above",), ()))
    assert (picture[50:] == 100).all()
    assert (picture[:20] == 255).any()
    annotate(picture, ((), ("one", "two")))
    assert (picture[80:] == 255).any()


def test_paint_covers_what_is_marked() -> None:
    picture = np.zeros((2, 2), np.uint8)
    paint(picture, np.array([[True, False], [False, True]]), 7)
    assert picture.tolist() == [[7, 0], [0, 7]]


def test_lines_of_text_are_those_that_are_asked_for() -> None:
    values = {"00100020": "ID1", "00080060": "CT", "00180060": 120, "00200011": 4}
    members = json_of(values) | {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane", "Phonetic": "x"}]}
    }
    document = Document(members)
    patient, technique = ("Doe Jane", "ID1"), ("CT", "Series 4", "120 kV")
    assert annotation_lines(document, ("patient",)) == (patient, ())
    assert annotation_lines(document, ("technique",)) == ((), technique)
    assert annotation_lines(document, ("patient", "technique")) == (patient, technique)


def test_a_micro_sign_is_no_capital_m() -> None:
    for micro in ("5 \N{MICRO SIGN}g", "5 \N{GREEK SMALL LETTER MU}g"):
        assert np.array_equal(written(micro), written("5 ug"))
    assert np.array_equal(written("\N{GREEK SMALL LETTER MU}"), written("M"))  # in a Greek word
