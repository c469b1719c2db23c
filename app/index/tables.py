"""The tables (SQLAlchemy Core). Migrations in `alembic/` make them; a test compares the two.

`tenant_id` is in every table and every unique key. An Instance is unique by (tenant, SOP Instance
UID), a Series by (tenant, Study, Series Instance UID). Text to match is folded beforehand
(`dicom.folding`): the columns that end in `_alphabetic`, `_ideographic`, `_phonetic`. Dates are
YYYYMMDD, times HHMMSS[.FFFFFF], both text that sorts ('' where absent): the database's collation
is C. Absent text is '' (never NULL), so that each column has one way to say "no value".

`document` is the answer of a search, made once from the first Instance stored: the members of a
DICOM JSON object in tag order without braces and without the computed attributes; `extra` holds
what is returned only when asked for, in the same form. `version` grows with each change of the
Study or Series and makes ETags and cached answers.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import UserDefinedType

metadata = MetaData()


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id: the order of commits is decided against it."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type's name in DDL."""
        return "xid8"


def _key() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _tenant() -> Column[int]:
    return Column("tenant_id", Integer, ForeignKey("tenant.id"), nullable=False)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0")


def _texts(name: str) -> Column[list[str]]:
    return Column(name, ARRAY(Text), nullable=False, server_default="{}")


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def _person(name: str) -> list[Column[str]]:
    return [_text(f"{name}_{group}") for group in ("alphabetic", "ideographic", "phonetic")]


tenant = Table(
    "tenant",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

patient = Table(
    "patient",
    metadata,
    _key(),
    _tenant(),
    _text("patient_id"),
    _text("issuer_of_patient_id"),
    _count("number_of_studies"),
    UniqueConstraint("tenant_id", "patient_id", "issuer_of_patient_id"),
)

study = Table(
    "study",
    metadata,
    _key(),
    _tenant(),
    Column("patient_key", BigInteger, ForeignKey("patient.id"), nullable=False, index=True),
    Column("study_instance_uid", Text, nullable=False),
    _text("patient_id"),
    _text("issuer_of_patient_id"),
    *_person("patient_name"),
    _text("patient_birth_date"),
    _text("patient_sex"),
    _text("study_date"),
    _text("study_time"),
    _text("accession_number"),
    _text("study_id"),
    _text("study_description"),
    *_person("referring_physician_name"),
    _text("timezone_offset_from_utc"),
    _texts("modalities"),
    _texts("sop_classes"),
    _count("number_of_series"),
    _count("number_of_instances"),
    Column("document", Text, nullable=False),
    _text("extra"),
    Column("conflicts", JSONB),
    Column("version", BigInteger, nullable=False, server_default="1"),
    _now("created_at"),
    _now("updated_at"),
    UniqueConstraint("tenant_id", "study_instance_uid"),
)

series = Table(
    "series",
    metadata,
    _key(),
    _tenant(),
    Column("study_key", BigInteger, ForeignKey("study.id"), nullable=False),
    Column("series_instance_uid", Text, nullable=False),
    _text("modality"),
    Column("series_number", BigInteger),
    _text("series_date"),
    _text("series_time"),
    _text("series_description"),
    _text("body_part_examined"),
    _text("manufacturer"),
    _text("station_name"),
    _text("institution_name"),
    _text("performed_procedure_step_start_date"),
    _text("performed_procedure_step_start_time"),
    _texts("scheduled_procedure_step_ids"),
    _texts("requested_procedure_ids"),
    _texts("sop_classes"),
    _count("number_of_instances"),
    Column("document", Text, nullable=False),
    _text("extra"),
    Column("conflicts", JSONB),
    # zstd of the first Instance's JSON: the dictionary for all Metadata of the Series
    Column("metadata_dictionary", LargeBinary, nullable=False),
    Column("version", BigInteger, nullable=False, server_default="1"),
    _now("created_at"),
    _now("updated_at"),
    UniqueConstraint("tenant_id", "study_key", "series_instance_uid"),
)


def _instance_columns() -> list[Column[object]]:
    return [
        Column("sop_instance_uid", Text, nullable=False),
        _text("sop_class_uid"),
        Column("instance_number", BigInteger),
        Column("rows", Integer),
        Column("columns", Integer),
        Column("bits_allocated", Integer),
        Column("number_of_frames", Integer),
        Column("transfer_syntax_uid", Text, nullable=False),
        Column("object_key", Text, nullable=False),
        Column("base_offset", BigInteger, nullable=False, server_default="0"),
        Column("size", BigInteger, nullable=False),
        # SHA-256 of the stored object, and of what follows its file meta information
        Column("sha256", LargeBinary, nullable=False),
        Column("dataset_sha256", LargeBinary, nullable=False),
        Column("dataset_offset", Integer, nullable=False),
        Column("frame_kind", SmallInteger, nullable=False, server_default="0"),
        Column("frame_count", Integer, nullable=False, server_default="0"),
        Column("frame_offset", BigInteger, nullable=False, server_default="0"),
        Column("frame_length", BigInteger, nullable=False, server_default="0"),
        Column("frame_table", LargeBinary),
        # JSON: path -> [offset, length, VR]
        _text("bulk_values"),
        Column("metadata", LargeBinary, nullable=False),
        Column("derived_version", SmallInteger, nullable=False),
        _now("stored_at"),
    ]


instance = Table(
    "instance",
    metadata,
    _key(),
    _tenant(),
    Column("study_key", BigInteger, ForeignKey("study.id"), nullable=False),
    Column("series_key", BigInteger, ForeignKey("series.id"), nullable=False),
    *_instance_columns(),
    UniqueConstraint("tenant_id", "sop_instance_uid"),
)

removed_instance = Table(
    "removed_instance",
    metadata,
    Column("id", BigInteger, primary_key=True),
    _tenant(),
    _text("study_instance_uid"),
    _text("series_instance_uid"),
    *_instance_columns(),
    # zstd of the JSON with no dictionary: the Series may be gone
    Column("reason", Text, nullable=False),
    Column("event_id", BigInteger, nullable=False),
    _now("removed_at"),
)

event = Table(
    "event",
    metadata,
    _key(),
    _tenant(),
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    _now("at"),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
)

Index("series_study", series.c.study_key)
Index("instance_series", instance.c.series_key, instance.c.instance_number)
Index("instance_study", instance.c.study_key)
Index("removed_instance_uid", removed_instance.c.tenant_id, removed_instance.c.sop_instance_uid)
Index("event_order", event.c.xid, event.c.id)
Index("study_newest", study.c.tenant_id, study.c.study_date.desc(), study.c.study_instance_uid)
