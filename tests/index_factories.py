"""What the index is given: Instances that were scanned, as if their objects had been put."""

import itertools
from hashlib import sha256
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from app.dicom.scan import scan
from app.dicom.source import BytesSource
from app.dicom.uids import InstanceRef
from app.index.instances import NewInstance
from app.objects.base import object_key
from tests.factories import make_part10

_attempts = itertools.count(1)


def make_new_instance(dataset: Dataset | None = None, **keywords: Any) -> NewInstance:
    """Return what the index is given for an Instance whose object has been put."""
    data = make_part10(dataset, **keywords)
    scanned = scan(BytesSource(data))
    made = dcmread(BytesIO(data), stop_before_pixels=True)
    uids = (made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID)
    ref = InstanceRef(*map(str, uids))
    return NewInstance(
        ref=ref,
        scanned=scanned,
        object_key=object_key(1, ref.study, ref.series, ref.instance, f"{next(_attempts):026}"),
        size=len(data),
        sha256=sha256(data).digest(),
        dataset_sha256=sha256(data[scanned.dataset_offset :]).digest(),
    )
