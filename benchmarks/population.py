"""A generated archive of many small studies: people with real names, dates, modalities.

Everything follows from the number of studies, so what a query has to find is known.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from benchmarks.data import (
    SLOTS,
    Instance,
    Template,
    identify,
    locate_slots,
    make_uid,
    write_dataset,
)

VERSION = 1
"""To be raised when the population changes: loaded archives are kept by it."""

_FAMILIES = """
MARTIN GARCIA MÜLLER SMITH JOHNSON ROSSI FERNANDEZ SILVA NOVAK KOWALSKI JENSEN NIELSEN ANDERSSON
VIRTANEN SCHMIDT SCHNEIDER FISCHER WEBER MEYER WAGNER BECKER HOFFMANN BERNARD DUBOIS THOMAS ROBERT
PETIT DURAND LEROY MOREAU SIMON LAURENT LEFÈVRE LOPEZ MARTINEZ SANCHEZ PEREZ GOMEZ RUIZ HERNANDEZ
DIAZ MORENO WILLIAMS BROWN JONES DAVIS MILLER WILSON TAYLOR ANDERSON JACKSON WHITE HARRIS CLARK
LEWIS ROBINSON WALKER HALL ALLEN YOUNG KING WRIGHT BIANCHI RUSSO FERRARI ESPOSITO COLOMBO RICCI
MARINO GRECO BRUNO GALLO CONTI COSTA SANTOS OLIVEIRA SOUZA PEREIRA LIMA CARVALHO RIBEIRO ALMEIDA
NOWAK WISNIEWSKI WOJCIK KAMINSKI SVOBODA DVORAK CERNY PROCHAZKA HORVATH KOVACS TOTH SZABO NAGY
IVANOV PETROV SOKOLOV POPOV HANSEN PEDERSEN LARSEN OLSEN JOHANSEN ERIKSEN KORHONEN NIEMINEN MAKELA
DE_VRIES JANSEN BAKKER VISSER PEETERS JANSSENS O'BRIEN MURPHY KELLY SULLIVAN NGUYEN TRAN LE KIM LEE
PARK TANAKA SUZUKI SATO WANG ZHANG CHEN KHAN PATEL SINGH YILMAZ DEMIR HADDAD COHEN OKAFOR MENSAH
DIALLO
"""
_GIVEN = """
ANNA MARIA PETER PAUL JOHN JAMES MARY LINDA SUSAN ROBERT DAVID MICHAEL THOMAS EMMA OLIVIA SOFIA
LUCAS LIAM NOAH MIA LEA HUGO JULES LOUISE CHLOE INES JOSE CARLOS JUAN LUIS CARMEN LUCIA GIULIA
MARCO LUCA CHIARA ELENA IVAN OLGA NINA LARS ERIK INGRID ASTRID KATARINA JAN PIOTR EWA TOMAS JANA
ISTVAN ZOLTAN AHMED FATIMA YUSUF AYSE HIRO YUKI WEI MEI AMIT PRIYA KWAME AMARA HANNAH SARAH DANIEL
RACHEL GRACE HENRY ALICE ARTHUR CLARA FELIX FRIDA OTTO RUTH
"""
FAMILIES, GIVEN = tuple(_FAMILIES.split()), tuple(_GIVEN.split())

COMMON_NAME = "MARTIN"
RARE_NAME = "QUETZAL"
ABSENT_NAME = "ZZYZX"
RARE_STUDY = 777
FIRST_DAY = date(2021, 1, 4)
DAYS = 1770

_KINDS = (
    ("CT", "CT Thorax with contrast"),
    ("CT", "CT Abdomen"),
    ("MR", "MRI Brain"),
    ("MR", "MRI Knee left"),
    ("CR", "Chest PA and lateral"),
    ("DX", "Hand right"),
    ("US", "Ultrasound Abdomen"),
    ("MG", "Screening mammography"),
)
_REFERRING = ("CRAIG^MARK", "WESTPHALL^DONALD", "AUSCHLANDER^DANIEL", "CAVANERO^ANNIE")
_PIXELS = 32
_NAME, _BIRTH = "PLACEHOLDER^NAME", "19000101"
_DAY, _TIME, _MODALITY = "19000102", "000001", "ZZ"
_DESCRIPTION, _REFERRED = "PLACEHOLDER STUDY", "PLACEHOLDER^REFERRING"


@dataclass(frozen=True, slots=True)
class Study:
    """One study of the population: what a query can find it by."""

    number: int
    name: str
    patient: str
    birth: date
    day: date
    accession: str
    modality: str
    description: str
    referring: str

    @property
    def uid(self) -> str:
        """Its Study Instance UID."""
        return make_uid(1, 500000 + self.number)


def _zipf(count: int) -> NDArray[np.float64]:
    """Return falling chances: the first of `count` names is the most common one."""
    weights: NDArray[np.float64] = 1 / np.arange(4, count + 4, dtype=np.float64)
    return weights / np.sum(weights)


def make_population(studies: int) -> list[Study]:
    """Return `studies` studies of about two thirds as many patients, in no order of dates."""
    random = np.random.default_rng(4711)
    patients = max(1, studies * 2 // 3)
    families = random.choice(len(FAMILIES), patients, p=_zipf(len(FAMILIES)))
    given = random.choice(len(GIVEN), patients, p=_zipf(len(GIVEN)))
    births = random.integers(0, 33000, patients)
    who = random.integers(0, patients, studies)
    days, kinds = random.integers(0, DAYS, studies), random.integers(0, len(_KINDS), studies)
    who[RARE_STUDY] = patients  # a person of its own
    chosen = zip(families, given, strict=True)
    names = [f"{FAMILIES[f]}^{GIVEN[g]}".replace("_", " ") for f, g in chosen]
    names.append(f"{RARE_NAME}^XOCHITL")
    births = np.append(births, 20000)
    return [
        Study(
            number=number,
            name=names[patient],
            patient=f"{100000 + patient}",
            birth=date(1930, 1, 1) + timedelta(days=int(births[patient])),
            day=FIRST_DAY + timedelta(days=int(days[number])),
            accession=f"ACC{number:07d}",
            modality=_KINDS[kinds[number]][0],
            description=_KINDS[kinds[number]][1],
            referring=_REFERRING[number % len(_REFERRING)],
        )
        for number, patient in enumerate(who.tolist())
    ]


def _make_head() -> bytes:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    identify(dataset)
    dataset.PatientName, dataset.PatientBirthDate, dataset.PatientSex = _NAME, _BIRTH, "O"
    dataset.StudyDate, dataset.StudyTime, dataset.Modality = _DAY, _TIME, _MODALITY
    dataset.StudyDescription, dataset.ReferringPhysicianName = _DESCRIPTION, _REFERRED
    dataset.SeriesDescription, dataset.SeriesNumber, dataset.StudyID = "Overview", "1", "1"
    dataset.InstanceNumber = SLOTS["number"]
    dataset.ConversionType = "WSD"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = _PIXELS
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = bytes(_PIXELS * _PIXELS)
    dataset["PixelData"].VR = "OB"
    return write_dataset(dataset)[: -_PIXELS * _PIXELS]


def _splice(head: bytes, placeholder: str, value: str) -> bytes:
    """Put a value of any length in place of an element's; only short explicit VRs."""
    old, new = placeholder.encode(), value.encode()
    old += b" " * (len(old) % 2)
    new += b" " * (len(new) % 2)
    at = head.index(old)
    assert int.from_bytes(head[at - 2 : at], "little") == len(old)
    return head[: at - 2] + len(new).to_bytes(2, "little") + new + head[at + len(old) :]


def _write_study(head: bytes, study: Study, instances: int) -> Iterator[Instance]:
    clock = f"{8 + study.number % 12:02d}{study.number % 60:02d}{study.number % 59:02d}"
    for placeholder, value in (
        (_NAME, study.name),
        (_BIRTH, f"{study.birth:%Y%m%d}"),
        (_DAY, f"{study.day:%Y%m%d}"),
        (_TIME, clock),
        (_MODALITY, study.modality),
        (_DESCRIPTION, study.description),
        (_REFERRED, study.referring),
        (SLOTS["patient"], study.patient),
        (SLOTS["accession"], study.accession),
    ):
        head = _splice(head, placeholder, value)
    template = Template(head, locate_slots(head))
    run = 500000 + study.number
    for number in range(instances):
        values = {
            "study": study.uid,
            "series": make_uid(2, run),
            "instance": make_uid(3, run, 0, number),
            "number": f"{number + 1:05d}",
        }
        pixels = bytes([(study.number + number) % 256]) * _PIXELS
        rest = memoryview(bytes(_PIXELS * (_PIXELS - 1)))
        yield Instance(
            values["study"],
            values["series"],
            values["instance"],
            template.fill(values),
            ((pixels, rest),),
        )


def write_population(studies: Sequence[Study], instances: int = 2) -> Iterator[Instance]:
    """Yield the files of the studies, `instances` of each, in order."""
    head = _make_head()
    for study in studies:
        yield from _write_study(head, study, instances)
