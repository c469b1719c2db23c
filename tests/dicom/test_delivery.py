"""In which syntax something stored leaves (M-03 to M-07, M-13 to M-16, M-28)."""

import pytest

from app.dicom.delivery import Delivery, How, deliver_frames, deliver_instance
from app.mime.media_types import Form

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"
BASELINE, LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
JLS, J2K, MPEG2 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.100"
DICOM, OCTETS = "application/dicom", "application/octet-stream"
STORED, REWRITTEN, DECODED = How.STORED, How.REWRITTEN, How.DECODED


@pytest.mark.parametrize(
    ("stored", "asked", "how", "uid"),
    [
        # M-03: nothing named
        (EXPLICIT, (), STORED, EXPLICIT),
        (IMPLICIT, (), REWRITTEN, EXPLICIT),
        (BIG, (), REWRITTEN, EXPLICIT),
        (DEFLATED, (), REWRITTEN, EXPLICIT),
        (RLE, (), DECODED, EXPLICIT),
        (JLS, (), DECODED, EXPLICIT),
        # M-04: only a lossy original exists
        (BASELINE, (), STORED, BASELINE),
        (MPEG2, (), STORED, MPEG2),
        # M-06: as stored, but M-05: these never leave
        (JLS, ("*",), STORED, JLS),
        (DEFLATED, ("*",), STORED, DEFLATED),
        (EXPLICIT, ("*",), STORED, EXPLICIT),
        (IMPLICIT, ("*",), REWRITTEN, EXPLICIT),
        (BIG, ("*",), REWRITTEN, EXPLICIT),
        # M-07: a named one is delivered
        (JLS, (JLS,), STORED, JLS),
        (JLS, (EXPLICIT,), DECODED, EXPLICIT),
        (BASELINE, (EXPLICIT,), DECODED, EXPLICIT),
        (IMPLICIT, (EXPLICIT,), REWRITTEN, EXPLICIT),
        (JLS, (J2K, "*"), STORED, JLS),
    ],
)
def test_an_instance_leaves_in(stored: str, asked: tuple[str, ...], how: How, uid: str) -> None:
    assert deliver_instance(Form(DICOM, True, asked), stored) == Delivery(how, uid, DICOM)


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        (IMPLICIT, (IMPLICIT,)),  # M-05
        (BIG, (BIG,)),
        (EXPLICIT, (IMPLICIT,)),
        (EXPLICIT, (J2K,)),  # M-07
        (MPEG2, (EXPLICIT,)),
        (EXPLICIT, ("nonsense",)),  # M-09
    ],
)
def test_an_instance_is_refused_in(stored: str, asked: tuple[str, ...]) -> None:
    assert deliver_instance(Form(DICOM, True, asked), stored) is None


def test_an_instance_is_refused_as_another_media_type() -> None:
    assert deliver_instance(Form("image/jpeg", False), EXPLICIT) is None


@pytest.mark.parametrize(
    ("stored", "form", "how", "uid", "media_type"),
    [
        # M-13, M-15
        (EXPLICIT, Form(OCTETS, True), STORED, EXPLICIT, OCTETS),
        (IMPLICIT, Form(OCTETS, True), STORED, EXPLICIT, OCTETS),
        (BIG, Form(OCTETS, True, ("*",)), STORED, EXPLICIT, OCTETS),
        (JLS, Form(OCTETS, True), DECODED, EXPLICIT, OCTETS),
        (BASELINE, Form(OCTETS, True), DECODED, EXPLICIT, OCTETS),
        (JLS, Form("*/*", True), DECODED, EXPLICIT, OCTETS),  # M-21
        (MPEG2, Form("*/*", True), STORED, MPEG2, "video/mpeg"),
        # M-28
        (JLS, Form(OCTETS, True, ("*",)), STORED, JLS, OCTETS),
        (MPEG2, Form(OCTETS, True, ("*",)), STORED, MPEG2, OCTETS),
        (EXPLICIT, Form(OCTETS, True, ("*",)), STORED, EXPLICIT, OCTETS),
        (JLS, Form(OCTETS, True, (JLS,)), STORED, JLS, OCTETS),
        # M-16
        (JLS, Form("image/jls", True), STORED, JLS, "image/jls"),
        (JLS, Form("image/*", True), STORED, JLS, "image/jls"),
        (LOSSLESS, Form("image/jpeg", True), STORED, LOSSLESS, "image/jpeg"),
        (BASELINE, Form("image/jpeg", True, (BASELINE,)), STORED, BASELINE, "image/jpeg"),
        (BASELINE, Form("image/jpeg", True, ("*",)), STORED, BASELINE, "image/jpeg"),
        (RLE, Form("image/dicom-rle", True), STORED, RLE, "image/dicom-rle"),
    ],
)
def test_frames_leave_in(stored: str, form: Form, how: How, uid: str, media_type: str) -> None:
    assert deliver_frames(form, stored) == Delivery(how, uid, media_type)


@pytest.mark.parametrize(
    ("stored", "form"),
    [
        (EXPLICIT, Form("image/jls", True)),  # not offered yet: nothing is encoded
        (EXPLICIT, Form(OCTETS, True, (JLS,))),
        (BASELINE, Form("image/jpeg", True)),  # the default of image/jpeg is .70
        (JLS, Form("image/jls", True, (J2K,))),
        (MPEG2, Form(OCTETS, True)),
        ("1.2.3", Form(OCTETS, True)),
    ],
)
def test_frames_are_refused_in(stored: str, form: Form) -> None:
    assert deliver_frames(form, stored) is None


@pytest.mark.parametrize(("asked", "delivered"), [((), True), (("*",), True), ((JLS,), False)])
def test_an_unknown_syntax_leaves_only_as_it_is(asked: tuple[str, ...], delivered: bool) -> None:
    assert (deliver_instance(Form(DICOM, True, asked), "1.2.3") is not None) is delivered
