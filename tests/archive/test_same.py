"""What counts as the same Instance, beyond equal bytes (DESIGN §5)."""

from collections.abc import Callable

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from app.archive.context import Archive
from app.rights import Principal
from tests.archive.test_store import store
from tests.factories import make_dataset, make_part10, new_uid

LITTLE, IMPLICIT, BIG = ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian


async def is_taken_as_same(archive: Archive, first: bytes, second: bytes) -> bool:
    principal = Principal("test")
    assert (await store(archive, principal, first)).stored
    return bool((await store(archive, principal, second)).stored)


def with_code(dataset: Dataset, value: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    nested = Dataset()
    nested.CodeValue = "deep"
    item.EquivalentCodeSequence = Sequence([nested])
    dataset.ProcedureCodeSequence = Sequence([item])
    return dataset


async def test_sequences_are_compared_item_by_item(archive: Archive) -> None:
    dataset = make_dataset()
    first = make_part10(with_code(dataset, "A"))
    again = make_part10(dataset, transfer_syntax=IMPLICIT)
    other = make_part10(with_code(dataset, "B"), transfer_syntax=IMPLICIT)
    assert await is_taken_as_same(archive, first, again)
    assert not await is_taken_as_same(archive, first, other)


def changed_study(dataset: Dataset) -> None:
    dataset.StudyInstanceUID = new_uid()


def changed_items(dataset: Dataset) -> None:
    dataset.ProcedureCodeSequence = Sequence([Dataset(), Dataset()])


def changed_type(dataset: Dataset) -> None:
    dataset.add_new(0x00091002, "SH", "1")


def one_more_bulk_value(dataset: Dataset) -> None:
    dataset.add_new(0x00420011, "OB", bytes(10_000))


def one_less_frame(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData + bytes(512)


def unreadable_text(dataset: Dataset) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.add_new(0x00104000, "LT", b"\xff\xfe broken")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "change",
    [changed_study, changed_items, changed_type, one_more_bulk_value, one_less_frame],
)
async def test_any_difference_makes_another_instance(
    archive: Archive, change: Callable[[Dataset], None]
) -> None:
    dataset = make_dataset(Rows=100, Columns=100)
    dataset.ProcedureCodeSequence = Sequence([Dataset()])
    dataset.add_new(0x00090010, "LO", "TEST")
    dataset.add_new(0x00091002, "LO", "1")
    first = make_part10(dataset)
    change(dataset)
    assert not await is_taken_as_same(archive, first, make_part10(dataset, transfer_syntax=BIG))


async def test_text_that_cannot_be_read_is_never_called_the_same(archive: Archive) -> None:
    data = make_part10(PatientComments="broken text", SpecificCharacterSet="ISO_IR 192")
    first = data.replace(b"broken text", b"\xff\xfeoken text")
    other = data.replace(b"broken text", b"\xfe\xffoken text")
    assert first != data
    assert not await is_taken_as_same(archive, first, other)


async def test_the_same_bytes_under_another_transfer_syntax_are_not_the_same(
    archive: Archive,
) -> None:
    data = make_part10()
    other = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0", 1)
    assert not await is_taken_as_same(archive, data, other)


async def test_another_compression_is_another_instance(archive: Archive) -> None:
    dataset = make_dataset()
    compressed = make_part10(
        dataset, transfer_syntax=JPEGBaseline8Bit, frames=[b"\xff\xd8\xff\xd9"]
    )
    assert not await is_taken_as_same(archive, make_part10(dataset), compressed)


async def test_numbers_in_bulk_values_are_compared_in_one_byte_order(archive: Archive) -> None:
    dataset = make_dataset(Rows=100, Columns=100)
    numbers = np.arange(10_000)
    dataset.add_new(0x00660016, "OF", numbers.astype("<f4").tobytes())
    dataset.add_new(0x00720073, "OD", numbers.astype("<f8").tobytes())
    first = make_part10(dataset, transfer_syntax=LITTLE)
    # pydicom writes these two as they are
    dataset[0x00660016].value = numbers.astype(">f4").tobytes()
    dataset[0x00720073].value = numbers.astype(">f8").tobytes()
    assert await is_taken_as_same(archive, first, make_part10(dataset, transfer_syntax=BIG))
