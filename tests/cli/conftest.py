"""Fixtures for tests of commands."""

from tests.ordinary_users import open_directory

__all__ = ["open_directory"]
