"""Thumbnails over HTTP: of what they are, and what stands for a Series or Study."""

import httpx
from pydicom import Dataset

from tests.dicomweb.test_rendered import GREY, moving, picture, stored_grey
from tests.dicomweb.test_wado_rs import path_of, store
from tests.factories import make_part10, make_series

__all__ = ["moving"]


async def test_thumbnails_are_small_pictures_at_every_level(
    client: httpx.AsyncClient, moving: Dataset
) -> None:
    instance = path_of(moving)
    series = instance.rpartition("/instances")[0]
    study = series.rpartition("/series")[0]
    for path in (study, series, instance, f"{instance}/frames/3"):
        answer = await client.get(f"{path}/thumbnail")
        assert answer.headers["content-type"] == "image/jpeg"
        assert picture(answer).shape == (85, 128)
        params = {"viewport": "60,60", "accept": "image/png"}
        shown = picture(await client.get(f"{path}/thumbnail", params=params))
        assert (shown == stored_grey(moving, 2)).all()  # the middle one of five


async def test_a_thumbnail_is_of_the_middle_of_the_longest_series(
    client: httpx.AsyncClient,
) -> None:
    localizer, *_ = make_series(1, **GREY, SeriesNumber=1)
    axial = make_series(5, **GREY, StudyInstanceUID=localizer.StudyInstanceUID, SeriesNumber=2)
    axial[2].PixelData = bytes(range(240)) * 10
    segments = make_series(
        9, **GREY, StudyInstanceUID=localizer.StudyInstanceUID, Modality="SEG", SeriesNumber=3
    )
    await store(client, *map(make_part10, [localizer, *axial, *segments]))
    study = path_of(localizer).partition("/series/")[0]
    params = {"viewport": "60,40", "accept": "image/png"}
    shown = picture(await client.get(f"{study}/thumbnail", params=params))
    assert (shown == stored_grey(axial[2])).all()


async def test_an_image_that_is_damaged_stands_for_no_series(client: httpx.AsyncClient) -> None:
    images = make_series(4, **GREY, StudyInstanceUID="1.2.3.77", SeriesNumber=1)
    (alone,) = make_series(1, **GREY, StudyInstanceUID="1.2.3.77", SeriesNumber=2)
    for number, dataset in enumerate(images):
        dataset.PixelData = bytes([number]) * 100
    damaged = [make_part10(one, transfer_syntax="1.2.840.10008.1.2.4.90") for one in images[:3]]
    images[3].PixelData = bytes(range(240)) * 10
    await store(client, *damaged, make_part10(images[3]), make_part10(alone))
    series = path_of(images[0]).rpartition("/instances")[0]
    params = {"viewport": "60,40", "accept": "image/png"}
    for path in (series, series.rpartition("/series")[0]):
        first = await client.get(f"{path}/thumbnail", params=params)
        assert (picture(first) == stored_grey(images[3])).all()
        again = await client.get(f"{path}/thumbnail", params=params)
        assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
        known = {"if-none-match": first.headers["etag"]}
        answer = await client.get(f"{path}/thumbnail", params=params, headers=known)
        assert answer.status_code == 304


async def test_a_series_of_damaged_images_has_no_thumbnail_but_its_study_has(
    client: httpx.AsyncClient,
) -> None:
    images = make_series(3, **GREY, StudyInstanceUID="1.2.3.78", SeriesNumber=1)
    (alone,) = make_series(1, **GREY, StudyInstanceUID="1.2.3.78", SeriesNumber=2)
    for dataset in images:
        dataset.PixelData = bytes(100)
    damaged = [make_part10(one, transfer_syntax="1.2.840.10008.1.2.4.90") for one in images]
    await store(client, *damaged, make_part10(alone))
    series = path_of(images[0]).rpartition("/instances")[0]
    for _ in range(2):
        assert (await client.get(f"{series}/thumbnail")).status_code == 409
    answer = await client.get(f"{series.rpartition('/series')[0]}/thumbnail")
    assert picture(answer).shape == (85, 128)
