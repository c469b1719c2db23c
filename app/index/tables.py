"""The tables (SQLAlchemy Core). Migrations in `alembic/` make them; a test compares the two.

`tenant_id` is in every table and every unique key. An Instance is unique by (tenant, SOP Instance
UID), a Series by (tenant, Study, Series Instance UID). Person names to match are folded beforehand
(`dicom.folding`) and hold all component groups as `=alphabetic=ideographic=phonetic=`, so that one
index serves all; the columns beside them with `_keys` are for names that are nearly so
(`dicom.fuzzy_names`). Dates are YYYYMMDD, times HHMMSS[.FFFFFF], both text that sorts ('' where
absent): every text column has the collation C, so that no operating system's locale can reorder
an index. Absent text is '' (never NULL), so that each column has one way to say "no value".

`tally` holds sums per tenant in several rows, so that writers do not wait for one another.
Storage (TOAST strategy, compression, fill factor) is set by the migrations alone.

`document` is the answer of a search, made once from the first Instance stored: the members of a
DICOM JSON object in tag order, without braces and computed attributes. Between members stands a
comma and a line break, but the character U+001E where computed attributes go; so it is cut and
filled without being parsed. `extra` holds what is returned only when asked for, in the same form
without cuts. `dicom/attributes.py` says which is which. `version` grows with each change of the
Study or Series and makes ETags and cached answers.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import UserDefinedType

from app.index import columns
from app.index.columns import C_TEXT

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_name)s_idx",
    }
)


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id: the order of commits is decided against it."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type's name in DDL."""
        return "xid8"


tenant = Table(
    "tenant",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", C_TEXT, nullable=False, unique=True),
)

patient = Table(
    "patient",
    metadata,
    columns.key(),
    columns.tenant(),
    columns.text("patient_id"),
    columns.text("issuer_of_patient_id"),
    columns.count("number_of_studies"),
    UniqueConstraint("tenant_id", "patient_id", "issuer_of_patient_id"),
)

study = Table(
    "study",
    metadata,
    columns.key(),
    columns.tenant(),
    Column("patient_key", BigInteger, ForeignKey("patient.id"), nullable=False, index=True),
    columns.named("study_instance_uid"),
    columns.text("patient_id"),
    columns.text("issuer_of_patient_id"),
    columns.text("patient_name"),
    columns.numbers("patient_name_keys"),
    columns.text("patient_birth_date"),
    columns.text("patient_sex"),
    columns.text("study_date"),
    columns.text("study_time"),
    columns.text("accession_number"),
    columns.text("study_id"),
    columns.text("study_description"),
    columns.text("referring_physician_name"),
    columns.numbers("referring_physician_name_keys"),
    columns.text("timezone_offset_from_utc"),
    columns.texts("modalities"),
    columns.texts("sop_classes"),
    columns.count("number_of_series"),
    columns.count("number_of_instances"),
    columns.total("size"),
    columns.named("document"),
    columns.text("extra"),
    Column("conflicts", JSONB),
    Column("version", BigInteger, nullable=False, server_default="1"),
    columns.now("created_at"),
    columns.now("updated_at"),
    UniqueConstraint("tenant_id", "study_instance_uid"),
)

series = Table(
    "series",
    metadata,
    columns.key(),
    columns.tenant(),
    Column("study_key", BigInteger, ForeignKey("study.id"), nullable=False),
    columns.named("series_instance_uid"),
    columns.text("modality"),
    Column("series_number", BigInteger),
    columns.text("series_date"),
    columns.text("series_time"),
    columns.text("series_description"),
    columns.text("body_part_examined"),
    columns.text("manufacturer"),
    columns.text("manufacturer_model_name"),
    columns.text("station_name"),
    columns.text("institution_name"),
    columns.text("performed_procedure_step_start_date"),
    columns.text("performed_procedure_step_start_time"),
    columns.texts("scheduled_procedure_step_ids"),
    columns.texts("requested_procedure_ids"),
    columns.texts("sop_classes"),
    columns.count("number_of_instances"),
    columns.named("document"),
    columns.text("extra"),
    Column("conflicts", JSONB),
    # zstd of the first Instance's JSON: the dictionary for all Metadata of the Series
    Column("metadata_dictionary", LargeBinary, nullable=False),
    Column("version", BigInteger, nullable=False, server_default="1"),
    columns.now("created_at"),
    columns.now("updated_at"),
    UniqueConstraint("tenant_id", "study_key", "series_instance_uid"),
)


def _instance_columns() -> list[Column[Any]]:
    return [
        columns.named("sop_instance_uid"),
        columns.text("sop_class_uid"),
        Column("instance_number", BigInteger),
        Column("rows", Integer),
        Column("columns", Integer),
        Column("bits_allocated", Integer),
        Column("number_of_frames", Integer),
        columns.named("transfer_syntax_uid"),
        columns.named("object_key"),
        Column("base_offset", BigInteger, nullable=False, server_default="0"),
        Column("size", BigInteger, nullable=False),
        # SHA-256 of the stored object, and of what follows its file meta information
        Column("sha256", LargeBinary, nullable=False),
        Column("dataset_sha256", LargeBinary, nullable=False),
        Column("dataset_offset", Integer, nullable=False),
        Column("frame_kind", SmallInteger, nullable=False, server_default="0"),
        columns.count("frame_count"),
        Column("frame_offset", BigInteger, nullable=False, server_default="0"),
        Column("frame_length", BigInteger, nullable=False, server_default="0"),
        Column("frame_table", LargeBinary),
        # JSON: path -> [offset, length, VR]
        columns.text("bulk_values"),
        Column("metadata", LargeBinary, nullable=False),
        Column("derived_version", SmallInteger, nullable=False),
        columns.now("stored_at"),
    ]


instance = Table(
    "instance",
    metadata,
    columns.key(),
    Column("tenant_id", Integer, nullable=False),  # no foreign key: that of its Study is enough
    Column("study_key", BigInteger, ForeignKey("study.id"), nullable=False),
    Column("series_key", BigInteger, ForeignKey("series.id"), nullable=False),
    *_instance_columns(),
    UniqueConstraint("tenant_id", "sop_instance_uid"),
)

removed_instance = Table(
    "removed_instance",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    columns.tenant(),
    columns.text("study_instance_uid"),
    columns.text("series_instance_uid"),
    *_instance_columns(),
    # zstd of the JSON with no dictionary: the Series may be gone
    columns.named("reason"),
    Column("event_id", BigInteger, nullable=False),
    columns.now("removed_at"),
)


def _non_patient_columns() -> list[Column[Any]]:
    return [
        columns.tenant(),
        columns.named("sop_instance_uid"),
        columns.named("sop_class_uid"),
        columns.named("transfer_syntax_uid"),
        columns.named("object_key"),
        Column("base_offset", BigInteger, nullable=False, server_default="0"),
        Column("size", BigInteger, nullable=False),
        Column("sha256", LargeBinary, nullable=False),
        Column("dataset_sha256", LargeBinary, nullable=False),
        Column("dataset_offset", Integer, nullable=False),
        columns.text("bulk_values"),
        # zstd of the JSON with no dictionary; what searches compare and return is in it
        Column("metadata", LargeBinary, nullable=False),
        Column("derived_version", SmallInteger, nullable=False),
        columns.now("stored_at"),
    ]


non_patient_instance = Table(
    "non_patient_instance",
    metadata,
    columns.key(),
    *_non_patient_columns(),
    UniqueConstraint("tenant_id", "sop_instance_uid"),
)

removed_non_patient_instance = Table(
    "removed_non_patient_instance",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    *_non_patient_columns(),
    Column("event_id", BigInteger, nullable=False),
    columns.now("removed_at"),
)

event = Table(
    "event",
    metadata,
    columns.key(),
    columns.tenant(),
    Column("xid", Xid8, nullable=False, server_default=text("event_transaction()")),
    columns.now("at"),
    columns.named("kind"),
    columns.named("actor"),
    Column("payload", JSONB, nullable=False),
)

# an attribute without a column whose values are kept in `attribute_value`: while it is filled,
# rows up to `until_key` are looked through, and those up to `last_key` have been
indexed_attribute = Table(
    "indexed_attribute",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    columns.tenant(),
    columns.named("name"),
    Column("level", SmallInteger, nullable=False),
    columns.named("vr"),
    columns.named("state"),
    columns.total("last_key"),
    columns.total("until_key"),
    columns.total("done"),
    columns.total("total"),
    columns.now("chosen_at"),
    UniqueConstraint("tenant_id", "name"),
)

# `owner_key` is that of a Study, a Series or an Instance, by the level of the attribute; `items`
# are the numbers of the Sequence Items that the value lies in
attribute_value = Table(
    "attribute_value",
    metadata,
    Column("attribute_id", Integer, primary_key=True, autoincrement=False),
    Column("owner_key", BigInteger, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("tenant_id", Integer, nullable=False),  # no foreign keys: they would cost each Store
    columns.numbers("items"),
    columns.named("value"),
)

tally = Table(
    "tally",
    metadata,
    columns.tenant(key=True),
    Column("slot", SmallInteger, primary_key=True),
    columns.total("studies"),
    columns.total("series"),
    columns.total("instances"),
    columns.total("bytes"),
)


def _trigrams(name: str, *columns: Column[str]) -> Index:
    operators = {column.key: "gin_trgm_ops" for column in columns}
    return Index(name, *columns, postgresql_using="gin", postgresql_ops=operators)


Index(
    "attribute_value_value",
    attribute_value.c.attribute_id,
    attribute_value.c.value,
    attribute_value.c.owner_key,
)
_trigrams("attribute_value_text", attribute_value.c.value)
Index("instance_series", instance.c.series_key, instance.c.instance_number)
Index("instance_study", instance.c.study_key)
Index("removed_instance_uid", removed_instance.c.tenant_id, removed_instance.c.sop_instance_uid)
Index(
    "removed_instance_study",
    removed_instance.c.tenant_id,
    removed_instance.c.study_instance_uid,
    removed_instance.c.series_instance_uid,
)
Index(
    "non_patient_instance_class",
    non_patient_instance.c.tenant_id,
    non_patient_instance.c.sop_class_uid,
)
Index(
    "removed_non_patient_instance_uid",
    removed_non_patient_instance.c.tenant_id,
    removed_non_patient_instance.c.sop_instance_uid,
)
Index("event_order", event.c.xid, event.c.id)
Index("series_uid", series.c.tenant_id, series.c.series_instance_uid)
# the order of search answers; with the names in it, the table itself is read for a page's rows only
Index(
    "study_newest",
    study.c.tenant_id,
    study.c.study_date.desc(),
    study.c.study_time.desc(),
    study.c.study_instance_uid,
    postgresql_include=["id", "patient_name"],
)
Index("study_patient_id", study.c.tenant_id, study.c.patient_id)
Index("study_accession_number", study.c.tenant_id, study.c.accession_number)
Index("study_modalities", study.c.modalities, postgresql_using="gin")
# one index for all names and one for all other texts: a GIN index answers for any of its columns
_trigrams(
    "study_names",
    study.c.patient_name,
    study.c.referring_physician_name,
)
_trigrams(
    "study_texts",
    study.c.patient_id,
    study.c.accession_number,
    study.c.study_id,
    study.c.study_description,
)
Index(
    "study_name_keys",
    study.c.patient_name_keys,
    study.c.referring_physician_name_keys,
    postgresql_using="gin",
)
