"""In which syntax something stored leaves (M-03 to M-07, M-13 to M-16, M-28)."""

import pytest

from app.dicom.delivery import Delivery, How, deliver_frames, deliver_instance
from app.mime.media_types import Form

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"
BASELINE, LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
JLS, J2K, MPEG2 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.100"
NEAR_LOSSLESS = "1.2.840.10008.1.2.4.81"
DICOM, OCTETS = "application/dicom", "application/octet-stream"
STORED, REWRITTEN, DECODED, ENCODED = How.STORED, How.REWRITTEN, How.DECODED, How.ENCODED
HTJ2K, RPCL, JXL = f"{J2K[:-2]}201", f"{J2K[:-2]}202", f"{J2K[:-2]}110"


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
        (JLS, ("1.2.3", "*"), STORED, JLS),
        # encoded, from native of any kind or from another compressed one
        *((stored, (J2K,), ENCODED, J2K) for stored in (EXPLICIT, IMPLICIT, BIG, DEFLATED, JLS)),
        *((EXPLICIT, (uid,), ENCODED, uid) for uid in (JLS, HTJ2K, RPCL, JXL, RLE, LOSSLESS)),
        (JLS, (J2K, "*"), ENCODED, J2K),
        (BASELINE, (JLS,), ENCODED, JLS),
    ],
)
def test_an_instance_leaves_in(stored: str, asked: tuple[str, ...], how: How, uid: str) -> None:
    assert deliver_instance(Form(DICOM, True, asked), stored)[0] == Delivery(how, uid, DICOM)


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        (IMPLICIT, (IMPLICIT,)),  # M-05
        (BIG, (BIG,)),
        (EXPLICIT, (IMPLICIT,)),
        (MPEG2, (EXPLICIT,)),  # M-07
        (MPEG2, (J2K,)),
        (EXPLICIT, (NEAR_LOSSLESS,)),
        (EXPLICIT, (BASELINE,)),  # M-25: with loss it would be another Instance
        (EXPLICIT, ("nonsense",)),  # M-09
    ],
)
def test_an_instance_is_refused_in(stored: str, asked: tuple[str, ...]) -> None:
    assert deliver_instance(Form(DICOM, True, asked), stored) == ()


def test_an_instance_is_refused_as_another_media_type() -> None:
    assert deliver_instance(Form("image/jpeg", False), EXPLICIT) == ()


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
        (BASELINE, Form("image/jpeg", True), STORED, BASELINE, "image/jpeg"),  # M-04
        (EXPLICIT, Form("image/jpeg", True), ENCODED, LOSSLESS, "image/jpeg"),  # M-25
        (EXPLICIT, Form("image/jpeg", True, (BASELINE,)), ENCODED, BASELINE, "image/jpeg"),
        (EXPLICIT, Form("image/jls", True), ENCODED, JLS, "image/jls"),
        (BIG, Form("image/jp2", True), ENCODED, J2K, "image/jp2"),
        (JLS, Form("image/jphc", True), ENCODED, HTJ2K, "image/jphc"),
        (JLS, Form("image/jphc", True, (RPCL, HTJ2K)), ENCODED, RPCL, "image/jphc"),
        (EXPLICIT, Form("image/jxl", True, ("*",)), ENCODED, JXL, "image/jxl"),
        (EXPLICIT, Form("image/*", True), ENCODED, JLS, "image/jls"),  # M-21
        (EXPLICIT, Form("*/*", True, (J2K,)), ENCODED, J2K, "image/jp2"),
        (EXPLICIT, Form(OCTETS, True, (JLS,)), ENCODED, JLS, OCTETS),
        # the names that viewers send
        (EXPLICIT, Form("image/x-jls", True), ENCODED, JLS, "image/jls"),
        (EXPLICIT, Form("image/x-dicom-rle", True), ENCODED, RLE, "image/dicom-rle"),
        (EXPLICIT, Form("image/dicom+jpeg", True), ENCODED, LOSSLESS, "image/jpeg"),
        (EXPLICIT, Form("image/jll", True), ENCODED, LOSSLESS, "image/jpeg"),
    ],
)
def test_frames_leave_in(stored: str, form: Form, how: How, uid: str, media_type: str) -> None:
    assert deliver_frames(form, stored)[0] == Delivery(how, uid, media_type)


@pytest.mark.parametrize(
    ("stored", "form"),
    [
        (JLS, Form("image/jls", True, (J2K,))),
        (EXPLICIT, Form("image/jls", True, (NEAR_LOSSLESS,))),
        (NEAR_LOSSLESS, Form("image/jpeg", True, (BASELINE,))),  # M-25
        (EXPLICIT, Form("image/jpx", True)),  # nothing here encodes it
        (MPEG2, Form("image/*", True)),
        (MPEG2, Form(OCTETS, True)),
        ("1.2.3", Form(OCTETS, True)),
    ],
)
def test_frames_are_refused_in(stored: str, form: Form) -> None:
    assert deliver_frames(form, stored) == ()


@pytest.mark.parametrize(("asked", "delivered"), [((), True), (("*",), True), ((JLS,), False)])
def test_an_unknown_syntax_leaves_only_as_it_is(asked: tuple[str, ...], delivered: bool) -> None:
    assert bool(deliver_instance(Form(DICOM, True, asked), "1.2.3")) is delivered
