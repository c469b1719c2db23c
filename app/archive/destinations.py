"""Where the Instances of a Store request go: into Studies, or among those of no Patient.

What the two have in common is `store`: how parts are staged, scanned and put, and that each stands
or falls alone. Here is what they have not: who may store what where, the keys of objects, and which
table the rows are in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.archive.context import Archive
from app.archive.writer import Result
from app.dicom.attributes import study_values
from app.dicom.identity import Identity, identify, identify_non_patient, sop_class_of
from app.dicom.non_patient import CATEGORIES, Category, category_of
from app.dicom.scanned import ScannedInstance
from app.dicom.store_report import FailureReason
from app.dicom.transfer_syntaxes import find
from app.dicom.uids import NonPatientRef, StudyRef
from app.errors import Forbidden, InvalidDataset
from app.index.admission import NOT_ADMITTED, Admission
from app.index.instances import NewInstance
from app.index.non_patient import add_non_patient
from app.objects.base import new_attempt, non_patient_key, object_key
from app.rights import Principal, Scope


class Destination(Protocol):
    """Takes the Instances of one request."""

    def check(self, scanned: ScannedInstance, scope: Scope) -> Identity:
        """Return what an Instance is.

        Raises:
            InvalidDataset: it may not be stored here, or not by somebody of this scope.
        """
        ...

    def new_key(self, tenant_id: int, identity: Identity) -> str:
        """Return the key for one attempt to store an Instance."""
        ...

    async def add(
        self, archive: Archive, principal: Principal, new: Sequence[NewInstance]
    ) -> list[Result]:
        """Make Instances durable and visible whose objects are put; return what became of each.

        Raises:
            Unavailable, StorageFull: the index or the store fails; some may be in.
        """
        ...


def destination(
    into: StudyRef | NonPatientRef | None, scope: Scope, calling_ae: str = ""
) -> Destination:
    """Return where Instances go that are stored into a Study, any Study, or a category.

    Raises:
        Forbidden: the scope is that of some Studies, and a category is in none.
    """
    if not isinstance(into, NonPatientRef):
        return Studies(None if into is None else into.study, calling_ae)
    if not scope.is_whole:
        raise Forbidden("Storing what is in no Study is not allowed to you")
    return NonPatient(CATEGORIES[into.category], into.instance)


@dataclass(frozen=True, slots=True)
class Studies:
    """One Study, or any; `calling_ae` is where a service says that Instances come from."""

    study: str | None
    calling_ae: str = ""

    def check(self, scanned: ScannedInstance, scope: Scope) -> Identity:
        """Return what an Instance is; its Study has to be the one, and the caller's."""
        category = category_of(sop_class_of(scanned))
        if category is not None:
            message = f"belongs to no Study: store it at /{category.name}"
            raise InvalidDataset(message, FailureReason.SOP_CLASS_NOT_SUPPORTED)
        identity = identify(scanned)
        if self.study is not None and identity.ref.study != self.study:
            raise InvalidDataset("belongs to another Study", FailureReason.OTHER_STUDY)
        if not _may_be_of(scope, identity, scanned):
            raise InvalidDataset(str(NOT_ADMITTED), NOT_ADMITTED.reason)
        return identity

    def new_key(self, tenant_id: int, identity: Identity) -> str:
        """Return a key below that of the Series."""
        ref = identity.ref
        return object_key(tenant_id, ref.study, ref.series, ref.instance, new_attempt())

    async def add(
        self, archive: Archive, principal: Principal, new: Sequence[NewInstance]
    ) -> list[Result]:
        """Hand the Instances to the writer."""
        scope = principal.scope
        under = Admission(scope, self.calling_ae, principal.name)
        return await archive.writer.add(scope.tenant_id, principal.signature, new, under)


def _may_be_of(scope: Scope, identity: Identity, scanned: ScannedInstance) -> bool:
    """Say whether what an Instance says of itself is in a scope; the index knows the rest."""
    if scope.labels == frozenset():  # what it made nobody of this scope would see
        return False
    if scope.studies is not None and identity.ref.study not in scope.studies:
        return False
    if scope.patients is None:
        return True
    said = study_values(scanned.fragments)
    return (said["patient_id"], said["issuer_of_patient_id"]) in scope.patients


@dataclass(frozen=True, slots=True)
class NonPatient:
    """A category of non-patient Instances; one of them where the request names it."""

    category: Category
    instance: str | None

    def check(self, scanned: ScannedInstance, scope: Scope) -> Identity:
        """Return what an Instance is; it has to be of the category."""
        identity = identify_non_patient(scanned)
        if identity.sop_class_uid not in self.category.sop_classes:
            other = category_of(identity.sop_class_uid)
            place = f"/{other.name}" if other else "/studies"
            message = f"not of {self.category.title}: store it at {place}"
            raise InvalidDataset(message, FailureReason.SOP_CLASS_NOT_SUPPORTED)
        if self.instance is not None and identity.ref.instance != self.instance:
            message = "has another SOP Instance UID than the path"
            raise InvalidDataset(message, FailureReason.OTHER_INSTANCE)
        syntax = find(scanned.transfer_syntax_uid)
        if syntax is not None and syntax.encapsulated:
            message = "an uncompressed Transfer Syntax was expected"
            raise InvalidDataset(message, FailureReason.TRANSFER_SYNTAX_NOT_SUPPORTED)
        return identity

    def new_key(self, tenant_id: int, identity: Identity) -> str:
        """Return a key below that of the category."""
        instance = identity.ref.instance
        return non_patient_key(tenant_id, self.category.name, instance, new_attempt())

    async def add(
        self, archive: Archive, principal: Principal, new: Sequence[NewInstance]
    ) -> list[Result]:
        """Add the Instances to their own table."""
        tenant, name = principal.scope.tenant_id, self.category.name
        return [*await add_non_patient(archive.index, tenant, principal.name, name, new)]
