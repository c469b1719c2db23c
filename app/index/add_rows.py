"""The statement that adds Instances: rows, counters, versions, event and forwardings at once."""

from collections.abc import Mapping
from enum import Enum

from app.index.absence import REJECTED
from app.index.access import VISIBLE
from app.index.forwarding_rules import FORWARD

TALLY_SLOTS = 16
SEARCHED: Mapping[str, str] = {
    "sop_class_uid": "text",
    "instance_number": "bigint",
    "rows": "integer",
    "columns": "integer",
    "bits_allocated": "integer",
    "number_of_frames": "integer",
}
"""What `dicom.attributes.instance_values` makes."""

COLUMNS: Mapping[str, str] = {
    "study_key": "bigint",
    "series_key": "bigint",
    "sop_instance_uid": "text",
    **SEARCHED,
    "transfer_syntax_uid": "text",
    "object_key": "text",
    "size": "bigint",
    "sha256": "bytea",
    "dataset_sha256": "bytea",
    "dataset_offset": "integer",
    "frame_kind": "smallint",
    "frame_count": "integer",
    "frame_offset": "bigint",
    "frame_length": "bigint",
    "frame_table": "bytea",
    "bulk_values": "text",
    "metadata": "bytea",
}
"""What `_row` fills, and the type of each: the rows go over as one array for each column."""

_NAMES = ", ".join(COLUMNS)
_PLACES = list(enumerate(COLUMNS.values(), start=5))
_ROWS = f"unnest({', '.join(f'${place}::{kind}[]' for place, kind in _PLACES)})"
_ROW = f"(VALUES ({', '.join(f'${place}::{kind}' for place, kind in _PLACES)}))"

# An object's file name is the SOP Instance UID, a dot, and the attempt: the event has that alone.
# `||` of equal arrays would still write an indexed column, hence the CASEs.
ADD_ROWS = f"""
WITH added AS (
    INSERT INTO instance (tenant_id, derived_version, {_NAMES})
    SELECT $1::integer, $2::smallint, new.* FROM {_ROWS} AS new ({_NAMES})
    WHERE NOT EXISTS (SELECT FROM removed_instance WHERE tenant_id = $1
        AND sop_instance_uid = new.sop_instance_uid AND starts_with(reason, '{REJECTED}'))
    AND NOT EXISTS (SELECT FROM swept_object WHERE object_key = new.object_key)
    {{guard}}
    ON CONFLICT (tenant_id, sop_instance_uid) DO NOTHING
    RETURNING id, study_key, series_key, sop_instance_uid, sop_class_uid, size, sha256, object_key
), series_added AS (
    SELECT study_key, series_key, count(*) AS instances, sum(size)::bigint AS size,
        array_agg(DISTINCT sop_class_uid) AS classes,
        jsonb_object_agg(sop_instance_uid, jsonb_build_array(
            encode(sha256, 'hex'),
            split_part(object_key, '/' || sop_instance_uid || '.', -1))) AS instances_logged
    FROM added GROUP BY 1, 2
), series_changed AS (
    UPDATE series SET number_of_instances = number_of_instances + added.instances,
        sop_classes = CASE WHEN series.sop_classes @> classes THEN series.sop_classes ELSE
            ARRAY(SELECT DISTINCT unnest(series.sop_classes || classes) ORDER BY 1) END,
        version = version + 1, updated_at = now()
    FROM series_added AS added WHERE series.id = added.series_key
    RETURNING added.*, modality, series_instance_uid,
        (number_of_instances = added.instances)::integer AS fresh
), study_added AS (
    SELECT study_key, sum(instances) AS instances, sum(size)::bigint AS size, sum(fresh) AS series,
        array_remove(array_agg(DISTINCT modality), '') AS modalities,
        jsonb_object_agg(series_instance_uid, instances_logged) AS series_logged
    FROM series_changed GROUP BY 1
), study_classes AS (
    SELECT study_key, array_agg(DISTINCT sop_class_uid) AS classes FROM added GROUP BY 1
), study_changed AS (
    UPDATE study SET number_of_instances = number_of_instances + added.instances,
        number_of_series = number_of_series + added.series,
        size = study.size + added.size,
        sop_classes = CASE WHEN study.sop_classes @> classes THEN study.sop_classes ELSE
            ARRAY(SELECT DISTINCT unnest(study.sop_classes || classes) ORDER BY 1) END,
        modalities = CASE WHEN study.modalities @> added.modalities THEN study.modalities ELSE
            ARRAY(SELECT DISTINCT unnest(study.modalities || added.modalities) ORDER BY 1) END,
        version = version + 1, updated_at = now()
    FROM study_added AS added JOIN study_classes USING (study_key)
    WHERE study.id = added.study_key
    RETURNING added.*, study_instance_uid,
        (number_of_instances = added.instances)::integer AS fresh
), logged AS (
    INSERT INTO event (tenant_id, kind, actor, payload)
    SELECT $1, 'accepted', $3::text,
        jsonb_build_object('study', study_instance_uid, 'series', series_logged)
    FROM study_changed
), forwarded AS ({FORWARD}
), counted AS (
    INSERT INTO tally (tenant_id, slot, studies, series, instances, bytes)
    SELECT $1, pg_backend_pid() % {TALLY_SLOTS},
        sum(fresh), sum(series), sum(instances), sum(size)
    FROM study_changed HAVING count(*) > 0
    ON CONFLICT (tenant_id, slot) DO UPDATE SET studies = tally.studies + excluded.studies,
        series = tally.series + excluded.series, instances = tally.instances + excluded.instances,
        bytes = tally.bytes + excluded.bytes
)
SELECT sop_instance_uid, id FROM added
"""  # noqa: S608 - our own names
CHOSEN = "SELECT FROM indexed_attribute WHERE tenant_id = $1"


_UNLESS_CHOSEN = f"AND NOT EXISTS ({CHOSEN})"
_IF_VISIBLE = f"""
    AND EXISTS (SELECT FROM study WHERE study.id = new.study_key
        AND {VISIBLE.replace("$2", f"${5 + len(COLUMNS)}")})
"""


class Alone(Enum):
    """What a statement that adds Instances sees to by itself."""

    NO = ""
    YES = _UNLESS_CHOSEN
    """It adds nothing if there are chosen attributes, whose values have to be added, too."""
    VISIBLE = _UNLESS_CHOSEN + _IF_VISIBLE
    """Nor to a Study that the sender may not see: the last argument is what narrows its scope."""


def _statement(alone: Alone, *, single: bool) -> str:
    guarded = ADD_ROWS.replace("{guard}", alone.value)
    return guarded.replace(_ROWS, _ROW) if single else guarded


STATEMENTS = {
    (alone, single): _statement(alone, single=single) for alone in Alone for single in (False, True)
}
"""The text that adds Instances; the values of a `single` one go over as they are."""
