"""Names that are nearly the same, in SQL: held against the same rule in Python and PostgreSQL."""

import asyncio
from random import Random

import pytest

from alembic import command
from app.dicom.folding import fold_person_name
from app.dicom.fuzzy_names import is_near, name_keys
from app.dicom.matching import parse_match
from app.dicom.phonetics import sounds
from app.dicom.rules import Match, Near
from app.index.conditions import Arguments, conditions
from app.index.engine import Index, connect
from app.index.migrations import migrate
from app.rights import Scope

_FAMILIES = """
schmidt smith muller miller meyer maier kowalski nowak o'brien mac-donald de-vries papadopoulos
nguyen fernandez lefevre jansen hansen johnson schwarzenegger garcia иванов 山田 やまだ
"""
_GIVEN = "anna anne maria john jan jean otto ida li 太郎 たろう katharina catherine"
FAMILIES, GIVEN = _FAMILIES.split(), _GIVEN.split()


def slip(random: Random, word: str) -> str:
    """Return the word with up to three letters changed, left out, added or exchanged."""
    letters = list(word)
    for _ in range(random.randint(0, 3)):
        place = random.randrange(len(letters) + 1)
        letters[place : place + random.randint(0, 2)] = random.choice(["", "e", "h", "*", "?", "ß"])
    return "".join(letters)


@pytest.mark.parametrize("seed", range(3))
async def test_the_index_finds_what_the_rule_says(index: Index, seed: int) -> None:
    random = Random(seed)
    names = {
        fold_person_name({"Alphabetic": f"{random.choice(FAMILIES)}^{random.choice(GIVEN)}"})
        for _ in range(200)
    }
    await _insert(index, sorted(names))
    found = 0
    for _ in range(80):
        family, given = slip(random, random.choice(FAMILIES)), slip(random, random.choice(GIVEN))
        value = random.choice([family, f"{family}^{given}", f"{given} {family}"])
        match = parse_match((0x00100010,), value, fuzzy=True)
        if match is None or not isinstance(match.rule, Near):
            continue
        literal = await _find(index, Match(match.attribute, match.rule.name))
        near = {name for name in names if is_near(name, match.rule.parts)}
        assert await _find(index, match) == near | literal, value
        found += len(near)
    assert found > 100


async def _insert(index: Index, names: list[str]) -> None:
    async with index.at_once() as connection:
        await connection.execute("INSERT INTO patient (tenant_id, patient_id) VALUES (1, 'many')")
        await connection.execute(
            "INSERT INTO study (tenant_id, patient_key, study_instance_uid, document, patient_name,"
            " patient_name_keys) SELECT 1, (SELECT max(id) FROM patient), '1.2.' || place, '',"
            " name, keys::integer[] FROM unnest($1::text[], $2::text[]) WITH ORDINALITY"
            " AS made (name, keys, place)",
            names,
            [f"{{{','.join(map(str, name_keys(one)))}}}" for one in names],
        )
        await connection.execute("VACUUM ANALYZE study")


async def _find(index: Index, match: Match) -> set[str]:
    arguments = Arguments(Scope(), None)
    (condition,) = conditions([match], arguments)
    rows = await index.search(
        f"SELECT patient_name FROM study AS s WHERE {condition}"  # noqa: S608
        " AND tenant_id = $1",
        *arguments,
    )
    return {row[0] for row in rows}


async def test_sounds_are_those_of_postgresql(index: Index) -> None:
    if int((await index.fetch("SHOW server_version_num"))[0][0]) < 160000:
        pytest.skip("this PostgreSQL has no daitch_mokotoff()")
    random = Random(5)
    letters = "abcdefghiklmnopqrstuvwxyzeaitsrhzndk"
    words = {"".join(random.choices(letters, k=random.randint(1, 9))) for _ in range(3000)}
    words |= {word for word in FAMILIES + GIVEN if word.isalpha()} | {"jakobsen", "bach", "jung"}
    listed = sorted(word for word in words if "mnm" not in word and "nmn" not in word)
    rows = await index.fetch(
        "SELECT word, daitch_mokotoff(word) FROM unnest($1::text[]) AS word", listed
    )
    differing = {
        word: (codes, sounds(word))
        for word, codes in rows
        if {code.replace("n", "6") for code in sounds(word)} != set(codes or ())
    }
    # PostgreSQL drops a few where two that are read in two ways follow one another
    assert len(differing) <= len(listed) // 500, differing


async def test_a_search_for_a_rare_name_asks_the_index_of_keys(index: Index) -> None:
    folded = [fold_person_name({"Alphabetic": f"x{n:x}^y{n:x}"}) for n in range(10_000)]
    await _insert(index, folded)
    for name in ("smyth", "john smith", "smith", "schmidt^jon"):
        match = parse_match((0x00100010,), name, fuzzy=True)
        assert match is not None
        arguments = Arguments(Scope(), None)
        (condition,) = conditions([match], arguments)
        rows = await index.search(
            f"EXPLAIN SELECT id FROM study AS s WHERE {condition}"  # noqa: S608
            " AND tenant_id = $1",
            *arguments,
        )
        plan = "\n".join(row[0] for row in rows)
        assert "Bitmap Index Scan on study_name_keys" in plan
        assert "Seq Scan" not in plan


def test_a_migration_gives_their_keys_to_the_names_that_are_there(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = empty_database_url
    name = fold_person_name({"Alphabetic": "Müller^Änne", "Ideographic": "山田"})
    _migrate_to(url, "0001", monkeypatch)
    asyncio.run(_fill(url, name))
    assert migrate(url)[:1] == ["0002"]
    rows = asyncio.run(_rows(url))
    assert len(rows) == 6
    for patient, keys, referring, referring_keys in rows:
        assert tuple(keys) == name_keys(patient)
        assert tuple(referring_keys) == name_keys(referring)
    assert {row[0] for row in rows} == {"", name}


@pytest.mark.slow
def test_a_migration_of_many_studies_is_in_steps_and_says_how_far_it_is(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = empty_database_url
    _migrate_to(url, "0001", monkeypatch)
    asyncio.run(_fill_many(url, 5_003))
    migrate(url)
    assert capsys.readouterr().err == "0002: the names of 5,000 Studies have their keys\n"
    rows = asyncio.run(_rows(url))
    assert len(rows) == 5_003
    assert all(tuple(keys) == name_keys(patient) for patient, keys, _, _ in rows)


def _migrate_to(url: str, revision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = command.upgrade

    def upgrade(config: object, _: str) -> None:
        newest(config, revision)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(command, "upgrade", upgrade)
        migrate(url)


async def _fill(url: str, name: str) -> None:
    connection = await connect(url)
    await connection.execute("INSERT INTO patient (tenant_id, patient_id) VALUES (1, 'P')")
    for number in range(6):
        await connection.execute(
            "INSERT INTO study (tenant_id, patient_key, study_instance_uid, document, patient_name,"
            " referring_physician_name) SELECT 1, id, $1, '', $2, $3 FROM patient",
            f"1.2.{number}",
            name if number % 2 else "",
            "=doe^jane===" if number % 3 else "",
        )
    await connection.close()


async def _fill_many(url: str, count: int) -> None:
    connection = await connect(url)
    await connection.execute("INSERT INTO patient (tenant_id, patient_id) VALUES (1, 'P')")
    await connection.execute(
        "INSERT INTO study (tenant_id, patient_key, study_instance_uid, document, patient_name)"
        " SELECT 1, id, '1.2.' || n, '', '=doe' || n || '^jane===' FROM patient,"
        " generate_series(1, $1) AS n",
        count,
    )
    await connection.close()


async def _rows(url: str) -> list[tuple[str, list[int], str, list[int]]]:
    connection = await connect(url)
    rows = await connection.fetch(
        "SELECT patient_name, patient_name_keys, referring_physician_name,"
        " referring_physician_name_keys FROM study"
    )
    await connection.close()
    return [tuple(row) for row in rows]
