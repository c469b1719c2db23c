"""Columns that many tables have. Text has the collation C and is never NULL: '' is no value."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Integer,
    Text,
    func,
)

C_TEXT = Text(collation="C")


def key() -> Column[int]:
    """Return the primary key `id`."""
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def tenant(*, key: bool = False) -> Column[int]:
    """Return the tenant, which may be in the primary key."""
    return Column("tenant_id", Integer, ForeignKey("tenant.id"), nullable=False, primary_key=key)


def named(name: str) -> Column[str]:
    """Return text that has to be given."""
    return Column(name, C_TEXT, nullable=False)


def text(name: str) -> Column[str]:
    """Return text, '' unless given."""
    return Column(name, C_TEXT, nullable=False, server_default="")


def texts(name: str) -> Column[list[str]]:
    """Return a list of texts, empty unless given."""
    return Column(name, ARRAY(C_TEXT), nullable=False, server_default="{}")


def numbers(name: str) -> Column[list[int]]:
    """Return a list of numbers, empty unless given."""
    return Column(name, ARRAY(Integer), nullable=False, server_default="{}")


def count(name: str) -> Column[int]:
    """Return a number, 0 unless given."""
    return Column(name, Integer, nullable=False, server_default="0")


def total(name: str) -> Column[int]:
    """Return a number of 64 bits, 0 unless given."""
    return Column(name, BigInteger, nullable=False, server_default="0")


def now(name: str) -> Column[object]:
    """Return a moment, the present one unless given."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())
