"""What the archive answers is a status that PS3.4 knows."""

from http import HTTPStatus

import pytest

from app.dicom.store_report import FailureReason
from app.dimse.status import of_search, of_store_request, store_status


@pytest.mark.parametrize("reason", list(FailureReason))
def test_every_failure_reason_is_a_c_store_status(reason: FailureReason) -> None:
    status = store_status(reason)
    assert status in {0x0122, 0x0124} or status >> 8 in {0xA7, 0xA9} or status >> 12 == 0xC


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (HTTPStatus.UNAUTHORIZED, 0x0124),
        (HTTPStatus.FORBIDDEN, 0x0124),
        (HTTPStatus.INSUFFICIENT_STORAGE, 0xA700),
        (HTTPStatus.SERVICE_UNAVAILABLE, 0xA700),
        (HTTPStatus.BAD_GATEWAY, 0xA700),
        (520, 0xA700),
        (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, 0xA700),
        (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, 0xC000),
    ],
)
def test_an_answer_that_is_no_report_has_a_status(code: int, status: int) -> None:
    assert of_store_request(code) == status


@pytest.mark.parametrize(("code", "status"), [(400, 0xA900), (403, 0x0124), (599, 0xA700)])
def test_a_search_that_is_refused_has_a_status(code: int, status: int) -> None:
    assert of_search(code) == status
