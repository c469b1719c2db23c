"""Metadata whose values no VR has: each Instance is refused or kept, without a fault."""

import pytest

from app.dicom.json_values import VRS
from tests.hostile.instances import SC
from tests.hostile.names import Hostile
from tests.hostile.scene import Scene
from tests.hostile.test_bombs import JSON, XML, bounded, model

COVERED = frozenset({Hostile.JSON_ODD, Hostile.XML_ODD, Hostile.XML_CREATORS})
ODD = (
    "null", "true", "[]", "{}", "[1]", "-0", "0.1", "1e-400", "1e308", "18446744073709551616",
    "-9223372036854775809", '""', '"\\u0000"', '"\\ud83d\\ude00"', '"a\\\\b"', '"1e999"',
    '"00100010"', '"zzzzzzzz"', '{"Alphabetic":1}', '{"Alphabetic":"x","Bogus":"y"}',
    '{"Alphabetic":null}', '{"vr":"LO"}', f'"{"9" * 40}"', "1" + "0" * 300,
)  # fmt: skip
KINDS = ('"Value":[{}]', '"Value":{}', '"InlineBinary":{}', '"BulkDataURI":{}')
TAGS = ("00100030", "7FE00010", "7FE00008", "00080005", "00280008", "FFFEE000", "00020010", "1")
"""No Study is named, so nothing of it is kept."""
NAMES = f'"00080016":{{"vr":"UI","Value":["{SC}"]}},"00080018":{{"vr":"UI","Value":["1.2.3"]}}'


async def send(scene: Scene, elements: list[str]) -> None:
    """Send an Instance for each element; each is refused by itself."""
    document = ",".join(f"{{{NAMES},{element}}}" for element in elements)
    answer = await scene.post(f"[{document}]".encode(), JSON)
    assert answer.status_code == 409, answer.text
    assert len(scene.reasons(answer)) == len(elements)


@pytest.mark.slow
async def test_values_that_no_vr_has_are_refused_one_by_one(scene: Scene) -> None:
    kinds = [kind.format(value) for kind in KINDS for value in ODD]
    with bounded(20):
        for vr in sorted(VRS):
            await send(scene, [f'"00100030":{{"vr":"{vr}",{kind}}}' for kind in kinds])


async def test_no_element_is_where_none_may_be(scene: Scene) -> None:
    elements = [
        f'"{tag}":{{"vr":{vr},"Value":[{{}}]}}'
        for tag in TAGS
        for vr in ('"SQ"', '"XX"', '"US"', "null", "{}", "1", "[1]")
    ]
    await send(scene, elements)


PARTS = (
    '<PersonName number="1"><Alphabetic><FamilyName>^</FamilyName></Alphabetic></PersonName>',
    '<Item number="1"/>',
    '<Value number="1">1e999</Value>',
    "<PersonName/>",
    "<BulkData/>",
    "<InlineBinary>!!</InlineBinary>",
)


@pytest.mark.slow
async def test_a_name_is_no_number_and_an_item_no_text(scene: Scene) -> None:
    names = "".join(
        f'<DicomAttribute tag="{tag}" vr="UI"><Value number="1">1.2</Value></DicomAttribute>'
        for tag in ("00080016", "00080018")
    )
    with bounded(10):
        for vr in sorted(VRS):
            for part in PARTS:
                odd = f'<DicomAttribute tag="00100030" vr="{vr}">{part}</DicomAttribute>'
                answer = await scene.post(model(names + odd), XML)
                assert answer.status_code == 409, (vr, part)


@pytest.mark.slow
async def test_private_creators_cost_no_more_than_others(scene: Scene) -> None:
    attributes = "".join(
        f'<DicomAttribute tag="{group:04X}0001" vr="LO" privateCreator="FILEROOM"/>'
        for group in range(9, 0xFFFF, 2)
    )
    with bounded(5):
        answer = await scene.post(model(attributes), XML)
    assert answer.status_code == 409
