"""Fixtures for tests of the index."""

from tests.ordinary_users import open_directory

__all__ = ["open_directory"]
