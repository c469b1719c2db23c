"""STOW-RS of metadata that contradicts its VR, its pixels or itself."""

import httpx

from tests.dicomweb.test_stow_metadata import (
    NATIVE,
    PIXELS,
    bulk,
    described,
    frame,
    metadata,
    path_of,
    post,
)


async def test_what_contradicts_itself_or_its_vr_is_refused_with_the_attribute(
    client: httpx.AsyncClient,
) -> None:  # S-18
    wrong = [described("1", Rows=5), described("1"), described("1")]
    wrong[1]["00200013"] = {"vr": "IS", "Value": [10**30]}
    wrong[2]["00180050"] = {"vr": "DS", "Value": [0.12345678901234567]}
    answer = await post(client, metadata(*wrong), bulk("1", NATIVE))
    assert answer.status_code == 409
    comments = [item["00000902"]["Value"][0] for item in answer.json()["00081198"]["Value"]]
    assert f"7FE00010 has {len(NATIVE)} bytes, where 5 Rows" in comments[0]
    assert comments[1].startswith("a value of 00200013 (IS) is no whole number from")
    assert comments[2].startswith("a value of 00180050 (DS) is longer than the 16 bytes")


async def test_two_parts_of_one_location_are_not_the_pixels_of_one_frame(
    client: httpx.AsyncClient,
) -> None:  # S-18
    dataset = described("1")
    answer = await post(client, metadata(dataset), bulk("1", NATIVE), bulk("1", NATIVE))
    assert answer.status_code == 409
    (item,) = answer.json()["00081198"]["Value"]
    assert f"{PIXELS} has {2 * len(NATIVE)} bytes" in item["00000902"]["Value"][0]
    assert (await client.get(path_of(dataset))).status_code == 404
    assert (await post(client, metadata(dataset), bulk("1", NATIVE))).is_success
    assert await frame(client, dataset) == NATIVE
