"""The table of Transfer Syntaxes that can hold an Instance: a new one is one row.

Rows say how the Data Set is encoded, what media type a frame has on the web, and whether we can
decode it. Syntaxes of PS3.6 that never hold a stored Instance (MIME, XML, SMPTE real-time video)
are left out: an Instance that names one is refused.
"""

from dataclasses import dataclass

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
RLE_LOSSLESS = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
GE_PRIVATE = "1.2.840.113619.5.2"

OCTET_STREAM = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferSyntax:
    """One row; `uid` is its key.

    Source: PS3.5 §10, Annex A; PS3.6 Table A-1; PS3.18 Tables 8.7.3-4, 8.7.3-5
    """

    uid: str
    name: str
    media_type: str = OCTET_STREAM
    """Of one frame as it is stored, without headers of items."""
    default_of_media_type: bool = False
    """What is meant when a client names the media type and no syntax."""
    encapsulated: bool = True
    """Pixel Data consists of items, not of a native value."""
    implicit: bool = False
    big_endian: bool = False
    big_endian_pixels: bool = False
    """The Data Set is little endian and Pixel Data alone is big endian."""
    deflated: bool = False
    """All after the File Meta Information is one raw deflate stream."""
    lossy: bool = False
    """May have lost information; else every frame decodes to exactly what was encoded."""
    video: bool = False
    """All frames are one stream."""
    decodable: bool = False
    """This archive can make native frames of it."""
    retired: bool = False


def _image(
    arc: str,
    name: str,
    media_type: str,
    *,
    default_of_media_type: bool = False,
    lossy: bool = False,
    decodable: bool = True,
) -> TransferSyntax:
    return TransferSyntax(
        uid=f"1.2.840.10008.1.2.{arc}",
        name=name,
        media_type=media_type,
        default_of_media_type=default_of_media_type,
        lossy=lossy,
        decodable=decodable,
    )


def _retired_jpeg(arc: int, name: str, *, lossy: bool = True) -> TransferSyntax:
    return TransferSyntax(
        uid=f"1.2.840.10008.1.2.4.{arc}",
        name=f"JPEG {name}",
        media_type="image/jpeg",
        lossy=lossy,
        retired=True,
    )


def _video(arc: str, name: str, media_type: str, *, default: bool = False) -> list[TransferSyntax]:
    """Return a video syntax and its fragmentable twin, which H.265 has not got."""
    plain = TransferSyntax(
        uid=f"1.2.840.10008.1.2.4.{arc}",
        name=name,
        media_type=media_type,
        default_of_media_type=default,
        lossy=True,
        video=True,
    )
    if media_type == "video/H265":
        return [plain]
    twin = TransferSyntax(
        uid=f"{plain.uid}.1",
        name=f"Fragmentable {name}",
        media_type=media_type,
        lossy=True,
        video=True,
    )
    return [plain, twin]


def _referenced(arc: int, name: str, *, deflated: bool = False) -> TransferSyntax:
    """Return a JPIP syntax: the Instance has an address in place of Pixel Data."""
    return TransferSyntax(
        uid=f"1.2.840.10008.1.2.4.{arc}",
        name=name,
        encapsulated=False,
        deflated=deflated,
        lossy=True,
    )


ROWS: tuple[TransferSyntax, ...] = (
    TransferSyntax(
        uid=IMPLICIT_LITTLE_ENDIAN,
        name="Implicit VR Little Endian",
        encapsulated=False,
        implicit=True,
        decodable=True,
    ),
    TransferSyntax(
        uid=EXPLICIT_LITTLE_ENDIAN,
        name="Explicit VR Little Endian",
        default_of_media_type=True,
        encapsulated=False,
        decodable=True,
    ),
    TransferSyntax(
        uid=DEFLATED_LITTLE_ENDIAN,
        name="Deflated Explicit VR Little Endian",
        encapsulated=False,
        deflated=True,
        decodable=True,
    ),
    TransferSyntax(
        uid=EXPLICIT_BIG_ENDIAN,
        name="Explicit VR Big Endian",
        encapsulated=False,
        big_endian=True,
        decodable=True,
        retired=True,
    ),
    TransferSyntax(
        uid="1.2.840.10008.1.20",
        name="Papyrus 3 Implicit VR Little Endian",
        encapsulated=False,
        implicit=True,
        decodable=True,
        retired=True,
    ),
    TransferSyntax(
        uid=GE_PRIVATE,
        name="GE Private Implicit VR, Big Endian Pixels",
        encapsulated=False,
        implicit=True,
        big_endian_pixels=True,
        decodable=True,
    ),
    _image("1.98", "Encapsulated Uncompressed Explicit VR Little Endian", OCTET_STREAM),
    _image("8.1", "Deflated Image Frame Compression", OCTET_STREAM),
    _image("5", "RLE Lossless", "image/dicom-rle", default_of_media_type=True),
    _image("4.50", "JPEG Baseline (Process 1)", "image/jpeg", lossy=True),
    _image("4.51", "JPEG Extended (Process 2 and 4)", "image/jpeg", lossy=True),
    _retired_jpeg(52, "Extended (Process 3 and 5)"),
    _retired_jpeg(53, "Spectral Selection, Non-Hierarchical (Process 6 and 8)"),
    _retired_jpeg(54, "Spectral Selection, Non-Hierarchical (Process 7 and 9)"),
    _retired_jpeg(55, "Full Progression, Non-Hierarchical (Process 10 and 12)"),
    _retired_jpeg(56, "Full Progression, Non-Hierarchical (Process 11 and 13)"),
    _image("4.57", "JPEG Lossless, Non-Hierarchical (Process 14)", "image/jpeg"),
    _retired_jpeg(58, "Lossless, Non-Hierarchical (Process 15)", lossy=False),
    _retired_jpeg(59, "Extended, Hierarchical (Process 16 and 18)"),
    _retired_jpeg(60, "Extended, Hierarchical (Process 17 and 19)"),
    _retired_jpeg(61, "Spectral Selection, Hierarchical (Process 20 and 22)"),
    _retired_jpeg(62, "Spectral Selection, Hierarchical (Process 21 and 23)"),
    _retired_jpeg(63, "Full Progression, Hierarchical (Process 24 and 26)"),
    _retired_jpeg(64, "Full Progression, Hierarchical (Process 25 and 27)"),
    _retired_jpeg(65, "Lossless, Hierarchical (Process 28)", lossy=False),
    _retired_jpeg(66, "Lossless, Hierarchical (Process 29)", lossy=False),
    _image(
        "4.70",
        "JPEG Lossless, First-Order Prediction (Process 14 [Selection Value 1])",
        "image/jpeg",
        default_of_media_type=True,
    ),
    _image("4.80", "JPEG-LS Lossless", "image/jls", default_of_media_type=True),
    _image("4.81", "JPEG-LS Near-Lossless", "image/jls", lossy=True),
    _image("4.90", "JPEG 2000 (Lossless Only)", "image/jp2", default_of_media_type=True),
    _image("4.91", "JPEG 2000", "image/jp2", lossy=True),
    _image(
        "4.92",
        "JPEG 2000 Part 2 Multi-component (Lossless Only)",
        "image/jpx",
        default_of_media_type=True,
    ),
    _image("4.93", "JPEG 2000 Part 2 Multi-component", "image/jpx", lossy=True),
    _referenced(94, "JPIP Referenced"),
    _referenced(95, "JPIP Referenced Deflate", deflated=True),
    *_video("100", "MPEG2 Main Profile / Main Level", "video/mpeg", default=True),
    *_video("101", "MPEG2 Main Profile / High Level", "video/mpeg"),
    *_video("102", "MPEG-4 AVC/H.264 High Profile / Level 4.1", "video/mp4", default=True),
    *_video("103", "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", "video/mp4"),
    *_video("104", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", "video/mp4"),
    *_video("105", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", "video/mp4"),
    *_video("106", "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", "video/mp4"),
    *_video("107", "HEVC/H.265 Main Profile / Level 5.1", "video/H265", default=True),
    *_video("108", "HEVC/H.265 Main 10 Profile / Level 5.1", "video/H265"),
    _image("4.110", "JPEG XL Lossless", "image/jxl", default_of_media_type=True),
    _image("4.111", "JPEG XL JPEG Recompression", "image/jxl", lossy=True),
    _image("4.112", "JPEG XL", "image/jxl", lossy=True),
    _image(
        "4.201",
        "High-Throughput JPEG 2000 (Lossless Only)",
        "image/jphc",
        default_of_media_type=True,
    ),
    _image("4.202", "High-Throughput JPEG 2000 with RPCL Options (Lossless Only)", "image/jphc"),
    _image("4.203", "High-Throughput JPEG 2000", "image/jphc", lossy=True),
    _referenced(204, "JPIP HTJ2K Referenced"),
    _referenced(205, "JPIP HTJ2K Referenced Deflate", deflated=True),
)

_BY_UID = {row.uid: row for row in ROWS}
MEDIA_TYPES = tuple(dict.fromkeys(row.media_type for row in ROWS))
"""All media types of a frame."""
_DEFAULTS = {row.media_type.lower(): row for row in ROWS if row.default_of_media_type}


def find(uid: str) -> TransferSyntax | None:
    """Return the row of a UID, or None if no Instance that we know can be encoded so.

    Source: PS3.6 Table A-1
    """
    return _BY_UID.get(uid)


def default_of(media_type: str) -> TransferSyntax | None:
    """Return the syntax that is meant when a media type is named alone; case does not matter.

    Source: PS3.18 Tables 8.7.3-4, 8.7.3-5
    """
    return _DEFAULTS.get(media_type.lower())


def can_be_decoded_losslessly(uid: str) -> bool:
    """Say whether an Instance must be decoded to answer in Explicit VR Little Endian (M-03, M-04).

    False where only a lossy original exists, or nothing here can decode it.

    Source: PS3.18 §8.7.3
    """
    row = find(uid)
    return row is not None and row.decodable and not row.lossy
