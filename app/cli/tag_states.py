"""How far attributes are on their way into the index, in words."""

from app.index.attribute_values import Indexed, State


def describe(indexed: Indexed) -> str:
    """Say how far an attribute is, and what to do if that is not the whole way."""
    name = f"'{indexed.shown}'" if "&" in indexed.shown else indexed.shown
    again = f"fileroom index-tags add {name}"
    return {
        State.READY: f"{indexed.shown} is in the index",
        State.FILLING: f"{indexed.shown} is filled to {indexed.share:.0%}; unless somebody is at "
        f"it, go on with: {again}",
        State.LEAVING: f"{indexed.shown} is not wholly removed; go on with: "
        f"fileroom index-tags remove {name}",
        State.OUTDATED: f"{indexed.shown} was indexed by another version, and is not used; remove "
        "it, and add it again",
    }[indexed.state]
