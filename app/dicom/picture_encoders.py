"""Encoders of pictures: JPEG, PNG, GIF, JPEG 2000. Import this in worker processes only."""

import struct
import zlib

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from app.dicom.pictures import GIF, JPEG_2000, PNG, Wanted
from app.dicom.viewport import Picture
from app.errors import InvalidDataset

_PROFILE_PIECE = 65000


def encode_picture(picture: Picture, wanted: Wanted, icc_profile: bytes = b"") -> bytes:
    """Return the file of a picture, (rows, columns) or (rows, columns, 3).

    `icc_profile` is that of the image; a colour image without one counts as sRGB.

    Source: PS3.18 §8.7.4, §8.3.5.1.2, §8.3.5.1.5
    """
    picture, profile = np.ascontiguousarray(picture), b""
    if wanted.profile != "no" and picture.ndim == 3:
        picture, profile = _in_profile(picture, wanted.profile, icc_profile)
    if wanted.media_type == PNG:
        return _png(picture, profile)
    if wanted.media_type == GIF:
        return _gif(picture)
    if wanted.media_type == JPEG_2000:
        return _jpeg_2000(picture, wanted.quality)
    return _jpeg(picture, wanted.quality, profile)


def _jpeg(picture: Picture, quality: int, profile: bytes) -> bytes:
    subsampling = "444" if picture.ndim == 3 else None
    data = bytes(imagecodecs.jpeg8_encode(picture, level=quality, subsampling=subsampling))
    pieces = [profile[at : at + _PROFILE_PIECE] for at in range(0, len(profile), _PROFILE_PIECE)]
    segments = [
        b"\xff\xe2"
        + struct.pack(">H", len(piece) + 16)
        + b"ICC_PROFILE\0"
        + bytes((number, len(pieces)))
        + piece
        for number, piece in enumerate(pieces, start=1)
    ]
    (length,) = struct.unpack_from(">H", data, 4)
    after = 4 + length if data[2:4] == b"\xff\xe0" else 2  # JFIF's own segment stays first
    return data[:after] + b"".join(segments) + data[after:]


def _png(picture: Picture, profile: bytes) -> bytes:
    data = bytes(imagecodecs.png_encode(picture, level=3))
    if not profile:
        return data
    chunk = b"iCCPICC\0\0" + zlib.compress(profile)
    checked = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:33] + checked + data[33:]


def _jpeg_2000(picture: Picture, quality: int) -> bytes:
    if quality == 100:
        return bytes(imagecodecs.jpeg2k_encode(picture, codecformat="jp2", reversible=True))
    level = 25 + quality * 3 // 10  # decibels
    return bytes(imagecodecs.jpeg2k_encode(picture, level=level, codecformat="jp2"))


def _gif(picture: Picture) -> bytes:
    if picture.ndim == 2:
        return bytes(imagecodecs.gif_encode(picture))
    indices, colours = to_indexed(picture)
    return bytes(imagecodecs.gif_encode(indices, colormap=colours))


def to_indexed(picture: Picture) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return an RGB picture as indices into a table of (256, 3) colours.

    Exact where it has 256 colours or fewer; else the boxes of colours with the widest spread are
    halved until there are 256, and each pixel gets the mean of its box.

    Source: PS3.18 §8.7.4 (image/gif)
    """
    packed = picture.reshape(-1, 3).astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    found, inverse, counts = np.unique(packed, return_inverse=True, return_counts=True)
    colours = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1).astype(np.uint8)
    boxes = _boxes(colours.astype(np.float64), counts)
    box_of = np.empty(len(found), np.uint8)
    table = np.zeros((256, 3), np.uint8)
    for number, box in enumerate(boxes):
        box_of[box] = number
        mean = np.average(colours[box].astype(np.float64), axis=0, weights=counts[box])
        table[number] = np.rint(mean)
    return box_of[inverse].reshape(picture.shape[:2]), table


def _boxes(colours: NDArray[np.float64], counts: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    boxes = [np.arange(len(colours))]
    spreads = [_spread(colours, boxes[0])]
    while len(boxes) < 256 and max(spreads) > 0:
        number = spreads.index(max(spreads))
        box = boxes[number]
        axis = int(np.argmax(np.ptp(colours[box], axis=0)))
        order = box[np.argsort(colours[box, axis], kind="stable")]
        weights = np.cumsum(counts[order])
        half = int(np.searchsorted(weights, weights[-1] / 2))
        half = min(max(half, 1), len(order) - 1)
        boxes[number], other = order[:half], order[half:]
        boxes.append(other)
        spreads[number] = _spread(colours, boxes[number])
        spreads.append(_spread(colours, other))
    return boxes


def _spread(colours: NDArray[np.float64], box: NDArray[np.intp]) -> float:
    return float(np.ptp(colours[box], axis=0).max()) if len(box) > 1 else 0.0


def _in_profile(picture: Picture, wanted: str, source: bytes) -> tuple[Picture, bytes]:
    """Return the picture in the colours of a profile, and the profile itself."""
    own = source or bytes(imagecodecs.cms_profile("srgb"))
    if wanted == "yes":
        return picture, own
    target = _profile(wanted)
    if own == target:
        return picture, target
    try:
        changed = imagecodecs.cms_transform(
            picture, own, target, colorspace="rgb", outcolorspace="rgb"
        )
    except (RuntimeError, ValueError) as error:
        raise InvalidDataset("the image's colour profile is damaged") from error
    return np.asarray(changed), target


def _profile(name: str) -> bytes:
    if name != "rommrgb":
        return bytes(imagecodecs.cms_profile(name))
    primaries = [0.7347, 0.2653, 1, 0.1596, 0.8404, 1, 0.0366, 0.0001, 1]
    white = [0.3457, 0.3585, 1]
    return bytes(imagecodecs.cms_profile("rgb", whitepoint=white, primaries=primaries, gamma=1.8))
