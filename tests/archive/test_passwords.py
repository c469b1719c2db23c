"""Passwords as they are kept."""

import pytest
from argon2 import extract_parameters, profiles

from app.archive.passwords import LONGEST, SHORTEST, Passwords
from app.errors import InvalidRequest


async def test_a_password_is_kept_as_argon2id_of_rfc_9106() -> None:
    passwords = Passwords()
    one, two = [await passwords.make("correct horse") for _ in range(2)]
    assert one != two
    assert extract_parameters(one) == profiles.RFC_9106_LOW_MEMORY
    assert await passwords.check(one, "correct horse")
    assert not await passwords.check(one, "correct house")


async def test_nobodys_hash_takes_as_long_and_is_of_no_password() -> None:
    passwords = Passwords()
    assert extract_parameters(passwords.nobodys) == profiles.RFC_9106_LOW_MEMORY
    assert not await passwords.check(passwords.nobodys, "nobody knows it!")


async def test_letters_may_be_composed_in_either_way() -> None:
    passwords = Passwords()
    known = await passwords.make("Zu\u0308richsee-2026")
    assert await passwords.check(known, "Z\u00fcrichsee-2026")


async def test_what_is_no_hash_has_no_password() -> None:
    assert not await Passwords().check("broken", "correct horse")


@pytest.mark.parametrize("password", ["", "x" * (SHORTEST - 1), "x" * (LONGEST + 1)])
async def test_a_password_too_short_or_too_long_is_refused(password: str) -> None:
    with pytest.raises(InvalidRequest, match="12 to 1024"):
        await Passwords().make(password)
