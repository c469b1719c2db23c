"""What the Metadata of an Instance says about its pixels, as decoders need it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.archive.context import Archive
from app.dicom.encodings import can_encode
from app.dicom.pixel_description import PixelDescription
from app.errors import InvalidDataset
from app.index.packing import unpack_metadata
from app.index.places import InstancePlace, load_metadata
from app.rights import Principal

_VALUE_TAGS = ("7FE00010", "7FE00008", "7FE00009")


@dataclass(frozen=True, slots=True)
class Pixels:
    """The Image Pixel module, and the VR of the pixel value."""

    description: PixelDescription
    vr: str
    integral: bool = True
    """The pixels are in Pixel Data, not in Float or Double Float Pixel Data."""
    number_of_frames: int = 1
    """As the Data Set says it."""

    def check_number(self, frame_count: int) -> None:
        """Refuse to write a Data Set anew whose Number of Frames is not that of its pixels.

        Raises:
            InvalidDataset: it is another.
        """
        if self.number_of_frames != frame_count:
            said = f"Number of Frames is {self.number_of_frames}"
            raise InvalidDataset(f"{said}, but Pixel Data holds {frame_count}")

    def can_be_encoded(self, transfer_syntax_uid: str) -> bool:
        """Say whether the frames can be had in another, encapsulated Transfer Syntax."""
        return self.integral and can_encode(self.description, transfer_syntax_uid)


async def load_pixels(archive: Archive, principal: Principal, instance: InstancePlace) -> Pixels:
    """Return the description of an Instance's pixels.

    Raises:
        NotFound: there is no such Instance any more.
        InvalidDataset: the Metadata has no Image Pixel module.
    """
    pages = await load_metadata(archive.index, principal.scope, instance.ref)
    page = await anext(pages)
    metadata = orjson.loads(unpack_metadata(page.dictionary, page.instances[0][1]))
    vr = next((metadata[tag]["vr"] for tag in _VALUE_TAGS if tag in metadata), "OW")
    description = _description(metadata, instance.transfer_syntax_uid)
    said = next(iter(metadata.get("00280008", {}).get("Value", ())), None) or 1
    frames = said if isinstance(said, int) else instance.frame_count  # a text is no number
    return Pixels(description, vr, _VALUE_TAGS[0] in metadata, frames)


def _description(metadata: Mapping[str, Any], transfer_syntax_uid: str) -> PixelDescription:
    def value(tag: str, default: Any = None) -> Any:
        found = next(iter(metadata.get(tag, {}).get("Value", ())), default)
        if found is None:
            raise InvalidDataset("the Instance does not describe its pixels")
        return found

    bits_allocated = int(value("00280100"))
    return PixelDescription(
        rows=int(value("00280010")),
        columns=int(value("00280011")),
        samples_per_pixel=int(value("00280002", 1)),
        bits_allocated=bits_allocated,
        bits_stored=int(value("00280101", bits_allocated)),
        pixel_representation=int(value("00280103", 0)),
        photometric_interpretation=str(value("00280004", "MONOCHROME2")),
        planar_configuration=int(value("00280006", 0)),
        transfer_syntax_uid=transfer_syntax_uid,
    )
