"""What the index keeps of values agrees with what looking into the data says."""

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.any_attribute import describe_attribute, meets
from app.dicom.kept_values import NUMBER, KeptValue, kept_rule, kept_values
from app.dicom.matching import parse_match
from app.dicom.rules import Between, Empty, Equal, Like, Rule, Several
from app.dicom.wildcards import fits
from app.errors import InvalidQuery

TAGS = {
    "SliceThickness": 0x00180050,  # DS
    "ImageType": 0x00080008,  # CS
    "SeriesNumber": 0x00209999,  # unknown: UN
    "RecommendedDisplayFrameRate": 0x00082144,  # IS
    "SelectorFLValue": 0x00720076,  # FL
    "SelectorSVValue": 0x00720082,  # SV
    "AcquisitionDateTime": 0x0008002A,  # DT
    "ContentTime": 0x00080033,  # TM
    "ContrastBolusAgent": 0x00180010,  # LO
}
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        ["1", "1.0", "01", "5.00", "-0", "a", "A b", "", " ", "\0", "20240101", "1015"]
    ),
    st.sampled_from(["20240229101500.5", "DERIVED", "1e1", "nan", "10:15:00", "x" * 300]),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0.1, 1.0, -0.0, 5.0, 10.0, 2.0**53, 1e300, 0.10000000149011612]),
)


def is_kept(rule: Rule, texts: list[str]) -> bool:
    """Say what the SQL of `index.chosen_conditions` says."""
    match rule:
        case Empty():
            return not texts
        case Equal(values):
            return any(text in values for text in texts)
        case Like(pattern):
            return any(fits(pattern, text) for text in texts if not text.startswith(NUMBER))
        case Between(low, high):
            return any(text and low <= text and (not high or text <= high) for text in texts)
        case Several(rules, every):
            return (all if every else any)(is_kept(one, texts) for one in rules)
    raise AssertionError(rule)


@given(
    name=st.sampled_from(list(TAGS)),
    values=st.lists(VALUES, max_size=3),
    wanted=st.one_of(
        st.sampled_from(
            ["1", "1.0", "5", "a", "A*", "?", "1*", '""', "20240101-", "-1100", "1015", "0.1", "10"]
        ),
        st.sampled_from(["DERIVED\\1", "DERIVED,5", "x" * 260, "9007199254740993", "-0", "1e1"]),
        VALUES.map(str),
    ),
    every=st.booleans(),
)
def test_kept_values_answer_as_the_data_does(
    name: str, values: list[Any], wanted: str, every: bool
) -> None:
    path = (TAGS[name],)
    try:
        match = parse_match(path, wanted, every=every, empty=True)
    except InvalidQuery:
        return
    if match is None:
        return
    dataset = {f"{path[0]:08X}": {"vr": match.attribute.vr, "Value": values}}
    kept = kept_values(dataset, match.attribute, {})
    rule = kept_rule(match.rule, match.attribute.vr)
    assert rule is not None
    assert is_kept(rule, [one.text for one in kept]) == meets(dataset, match, {})


def test_values_are_kept_once_with_the_items_that_they_lie_in() -> None:
    attribute = describe_attribute((0x00540220, 0x00080100), {})
    assert attribute is not None
    items = [{"00080100": {"vr": "SH", "Value": ["a", "a", None]}}, {"00080100": {"vr": "SH"}}]
    items.append({"00080100": {"vr": "SH", "Value": ["a"]}})
    dataset = {"00540220": {"vr": "SQ", "Value": items}}
    assert kept_values(dataset, attribute, {}) == [KeptValue((0,), "a"), KeptValue((2,), "a")]


@pytest.mark.parametrize(
    ("element", "texts"),
    [
        ({"vr": "UN", "InlineBinary": b64encode(b"a\\b ").decode()}, ["a", "b"]),
        ({"vr": "UN", "BulkDataURI": "x"}, [""]),
        ({"vr": "SQ", "Value": [{}]}, [""]),
        ({"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}, ["A^B"]),
        ({"vr": "UN"}, []),
    ],
)
def test_what_has_a_value_is_kept_though_it_may_not_compare(
    element: dict[str, Any], texts: list[str]
) -> None:
    attribute = describe_attribute((0x00091001,), {})
    assert attribute is not None
    kept = kept_values({"00091001": element}, attribute, {})
    assert [one.text for one in kept] == texts


def test_names_are_kept_folded_and_near_ones_are_not_answered_for() -> None:
    match = parse_match((0x00081050,), "Mueller")
    near = parse_match((0x00081050,), "Mueller", fuzzy=True)
    several = parse_match((0x00081050,), "Mueller\\Doe", fuzzy=True)
    assert match is not None
    assert near is not None
    assert several is not None
    dataset = {"00081050": {"vr": "PN", "Value": [{"Alphabetic": "MÜLLER^Änne"}]}}
    assert kept_values(dataset, match.attribute, {}) == [KeptValue((), "=muller^anne===")]
    assert kept_rule(match.rule, "PN") == match.rule
    assert kept_rule(near.rule, "PN") is None
    assert kept_rule(several.rule, "PN") is None
