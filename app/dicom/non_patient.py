"""Instances of no Patient: what categories there are, and what a search returns of each.

They stand outside of Studies and Series: a resource names one by its category and its own UID.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pydicom.datadict import tag_for_keyword


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of non-patient Instances: its name in URLs, its SOP Classes, what searches return.

    `returned` are the attributes that every match has, empty where the Instance has none.
    """

    name: str
    title: str
    sop_classes: tuple[str, ...]
    returned: tuple[int, ...]


_ROWS = (
    (
        "color-palettes",
        "Color Palettes",
        ("1.2.840.10008.5.1.4.39.1",),
        "ContentLabel ContentDescription ContentCreatorName PaletteColorLookupTableUID",
    ),
    (
        "defined-procedure-protocols",
        "Defined Procedure Protocols",
        ("1.2.840.10008.5.1.4.1.1.200.1", "1.2.840.10008.5.1.4.1.1.200.7"),
        """InstanceCreationDate InstanceCreationTime Modality ProtocolName EquipmentModality
        ModelSpecificationSequence PotentialScheduledProtocolCodeSequence
        PotentialRequestedProcedureCodeSequence PotentialReasonsForProcedure
        PotentialReasonsForProcedureCodeSequence PotentialDiagnosticTasks
        PredecessorProtocolSequence CustodialOrganizationSequence ResponsibleGroupCodeSequence""",
    ),
    (
        "hanging-protocols",
        "Hanging Protocols",
        ("1.2.840.10008.5.1.4.38.1",),
        """HangingProtocolName HangingProtocolDescription HangingProtocolLevel
        HangingProtocolCreator HangingProtocolCreationDateTime HangingProtocolDefinitionSequence
        NumberOfPriorsReferenced HangingProtocolUserIdentificationCodeSequence
        HangingProtocolUserGroupName NumberOfScreens NominalScreenDefinitionSequence""",
    ),
    (
        "implant-templates",
        "Implant Templates",
        (
            "1.2.840.10008.5.1.4.43.1",
            "1.2.840.10008.5.1.4.44.1",
            "1.2.840.10008.5.1.4.45.1",
        ),
        """Manufacturer EffectiveDateTime ImplantName ImplantSize ImplantPartNumber
        ImplantTemplateVersion ImplantType ImplantAssemblyTemplateName
        ImplantAssemblyTemplateIssuer ImplantAssemblyTemplateVersion ImplantAssemblyTemplateType
        SurgicalTechnique ProcedureTypeCodeSequence ImplantTemplateGroupName
        ImplantTemplateGroupDescription ImplantTemplateGroupIssuer ImplantTemplateGroupVersion""",
    ),
    (
        "inventories",
        "Inventories",
        ("1.2.840.10008.5.1.4.1.1.201.1",),
        """ContentDate ContentTime InventoryPurpose InventoryInstanceDescription InventoryLevel
        ScopeOfInventorySequence InventoryCompletionStatus NumberOfStudyRecordsInInstance
        TotalNumberOfStudyRecords""",
    ),
    (
        "protocol-approvals",
        "Protocol Approvals",
        ("1.2.840.10008.5.1.4.1.1.200.3",),
        """InstanceCreationDate InstanceCreationTime ApprovalSubjectSequence ApprovalSequence""",
    ),
)


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword  # noqa: S101 - our own words
    return tag


def _category(name: str, title: str, sop_classes: tuple[str, ...], keywords: str) -> Category:
    keywords = f"SOPClassUID SOPInstanceUID {keywords}"
    return Category(name, title, sop_classes, tuple(sorted(map(_tag, keywords.split()))))


CATEGORIES: Mapping[str, Category] = MappingProxyType({row[0]: _category(*row) for row in _ROWS})
"""By the name in URLs. What is returned are the keys of the query models, of Inventories what
says which one it is; Protocol Approvals are CP-2551's.

Source: PS3.18 Table 12.1.1-1; PS3.4 Table GG.3-1, Annexes U, X, BB, HH and II
"""

_BY_SOP_CLASS = {uid: one for one in CATEGORIES.values() for uid in one.sop_classes}


def category_of(sop_class_uid: str) -> Category | None:
    """Return the category of a SOP Class, None for those of Patients.

    Source: PS3.4 Table GG.3-1
    """
    return _BY_SOP_CLASS.get(sop_class_uid)
