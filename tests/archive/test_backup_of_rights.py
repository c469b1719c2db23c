"""Who may do what comes back with a backup: keys, users and rules; sessions and tickets do not."""

from pathlib import Path

import pytest

from app.archive import api_keys, local_users
from app.archive.api_keys import WantedKey, list_keys, make_key, revoke_key
from app.archive.context import Archive, Place, open_archive
from app.archive.ingest_labels import add_label_rule, list_label_rules
from app.archive.local_users import add_user, change_user, list_users, remove_user
from app.errors import Unauthenticated
from app.index.ingest_rules import Conditions
from app.rights import Principal
from tests.archive.test_backup import backed_up, place_in, restored

PASSWORD = "correct horse battery"


@pytest.fixture
def _no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "LEASE_SECONDS", 0)
    monkeypatch.setattr(local_users, "LEASE_SECONDS", 0)


@pytest.mark.usefixtures("cheap_passwords", "_no_lease")
async def test_keys_users_and_rules_are_what_they_were(
    archive: Archive, principal: Principal, tmp_path: Path, empty_database_url: str
) -> None:
    key = await make_key(archive, principal, WantedKey("ct-1", ["uploader"], ["trial:42"]))
    gone = await make_key(archive, principal, WantedKey("ct-2", ["viewer"]))
    await revoke_key(archive, principal, "ct-2")
    await add_user(archive, principal, "meier", PASSWORD, ["viewer"], ["trial:42"])
    await change_user(archive, principal, "meier", roles=["auditor"], all_studies=True)
    await add_user(archive, principal, "huber", PASSWORD, ["viewer"])
    await remove_user(archive, principal, "huber")
    await add_label_rule(archive, principal, "cardiology", Conditions("ECHO1"))
    known = await archive.keys.principal(key.text)
    await archive.keys.close()  # that it was used is noted
    async with place_in(tmp_path) as place:
        backup = await backed_up(archive, principal, place)
        await restored(empty_database_url, tmp_path, place, backup)
    where = Place(empty_database_url, tmp_path / "restored", tmp_path / "cache-restored")
    async with open_archive(where) as there:
        assert await list_keys(there, principal) == await list_keys(archive, principal)
        assert await list_users(there, principal) == await list_users(archive, principal)
        rules = await list_label_rules(archive, principal)
        assert rules
        assert await list_label_rules(there, principal) == rules
        assert await there.keys.principal(key.text) == known
        assert (await there.users.principal("meier", PASSWORD, "203.0.113.5")).name == "meier"
        with pytest.raises(Unauthenticated, match="revoked"):
            await there.keys.principal(gone.text)
