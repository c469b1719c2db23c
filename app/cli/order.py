"""What the parent of `serve` tells a worker."""

from dataclasses import dataclass

from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Order:
    """`listening` is the descriptor of the socket that the worker inherits.

    `number` counts those of a kind from 0.
    """

    settings: Settings
    listening: int
    number: int = 0
