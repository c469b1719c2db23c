"""A change as JSON: in the change feed, and in what webhooks are sent."""

from collections.abc import Mapping
from typing import Any

from app.index.events import Event


def change_as_json(event: Event, *, named: bool) -> dict[str, Any]:
    """Return a change as JSON; who made it, why, and who is let in, is for administrators."""
    change: dict[str, Any] = {
        "position": str(event.position),
        "at": event.at.isoformat(),
        "kind": event.kind,
        **event.payload,
    }
    if "series" in change:
        change["series"] = {uid: _digests(those) for uid, those in change["series"].items()}
    if isinstance(change.get("instances"), dict):
        change["instances"] = _digests(change["instances"])
    if named:
        return {**change, "actor": event.actor}
    for what in ("because", "key", "user", "tenant"):  # why, who is let in, and who else is here
        change.pop(what, None)
    return change


def _digests(instances: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of each Instance; where it lies, which the log has too, is ours."""
    return {uid: one[0] if isinstance(one, list) else one for uid, one in instances.items()}
