"""The categories of non-patient Instances hold together."""

from pydicom.uid import UID, CTImageStorage, CTPerformedProcedureProtocolStorage

from app.dicom.non_patient import CATEGORIES, category_of


def test_every_category_is_found_by_each_of_its_sop_classes() -> None:  # N-01
    classes = [uid for one in CATEGORIES.values() for uid in one.sop_classes]
    assert len(set(classes)) == len(classes)
    for name, one in CATEGORIES.items():
        assert one.name == name
        assert all(category_of(uid) is one for uid in one.sop_classes)
        assert all(UID(uid).name.endswith("Storage") for uid in one.sop_classes)


def test_what_is_of_a_patient_has_no_category() -> None:
    assert category_of(CTImageStorage) is None
    assert category_of(CTPerformedProcedureProtocolStorage) is None
    assert category_of("") is None


def test_what_is_returned_is_in_tag_order_and_names_the_instance() -> None:  # N-03
    for one in CATEGORIES.values():
        assert list(one.returned) == sorted(set(one.returned))
        assert {0x00080016, 0x00080018} < set(one.returned)
