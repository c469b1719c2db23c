"""An archive that something hostile comes to, and what has to be so afterwards."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.archive.context import Archive
from app.archive.examine import State
from app.objects.staging import MEMORY_BYTES
from tests.archive.test_verify import found
from tests.hostile.instances import Raw
from tests.multipart import RELATED, make_multipart

DICOM = "application/dicom"
_COUNTS = """
SELECT study_instance_uid AS study, number_of_instances AS said, number_of_series AS series,
    (SELECT count(*) FROM instance WHERE study_key = study.id) AS instances,
    (SELECT count(*) FROM series WHERE study_key = study.id) AS there,
    (SELECT coalesce(sum(number_of_instances), 0) FROM series WHERE study_key = study.id) AS summed
FROM study
"""


@dataclass
class Scene:
    """The archive, a caller, and what must be there."""

    client: httpx.AsyncClient
    archive: Archive
    kept: dict[str, bytes] = field(default_factory=dict)
    """What was acknowledged: the path of each Instance, and its bytes."""

    @classmethod
    async def begin(cls, client: httpx.AsyncClient, archive: Archive) -> "Scene":
        """Store a neighbour, which nothing that comes may harm."""
        scene, neighbour = cls(client, archive), Raw()
        assert (await scene.store(neighbour)).status_code == 200
        return scene

    async def store(self, *all_: Raw) -> httpx.Response:
        """Store Instances in one request; what is acknowledged has to be there at the end."""
        answer = await self.post(make_multipart(*(raw.data() for raw in all_)), RELATED)
        stored = {uid for uid, _ in self.stored(answer)}
        self.kept |= {raw.path: raw.data() for raw in all_ if raw.instance in stored}
        return answer

    async def post(
        self, body: Any, content_type: str = DICOM, path: str = "/studies", **headers: str
    ) -> httpx.Response:
        """Send a Store request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(
            path, content=body, headers={"content-type": content_type, **named}
        )

    @staticmethod
    def stored(answer: httpx.Response) -> list[tuple[str, str]]:
        """Return UID and URL of what a Store answer says is stored."""
        if answer.status_code not in {200, 202}:
            return []
        items = answer.json().get("00081199", {}).get("Value", [])
        return [(one["00081155"]["Value"][0], one["00081190"]["Value"][0]) for one in items]

    @staticmethod
    def reasons(answer: httpx.Response) -> list[int]:
        """Return the Failure Reasons of a Store answer."""
        report = answer.json()
        failed = [*_items(report, "00081198"), *_items(report, "0008119A")]
        return [one["00081197"]["Value"][0] for one in failed]

    async def faults(self) -> list[str]:
        """Say what is half there: everything else is as it was acknowledged."""
        return [
            *await self._of_index(),
            *await self._of_search(),
            *await self._of_objects(),
            *await self._of_staging(),
        ]

    async def _of_index(self) -> list[str]:
        rows = await self.archive.index.fetch(_COUNTS)
        wrong = [
            f"Study {row['study']} counts wrong"
            for row in rows
            if not row["said"] == row["instances"] == row["summed"] > 0
            or row["series"] != row["there"]
        ]
        count = sum(row["instances"] for row in rows)
        if count != len(self.kept):
            wrong.append(f"{count} Instances, where {len(self.kept)} were acknowledged")
        return wrong

    async def _of_search(self) -> list[str]:
        wrong = []
        answer = await self.client.get("/instances?limit=5000")
        listed = {one["00080018"]["Value"][0] for one in answer.json()} if answer.text else set()
        if listed != {path.rpartition("/")[2] for path in self.kept}:
            wrong.append("a Search finds something else")
        for path, data in self.kept.items():
            got = await self.client.get(path, headers={"accept": f'{DICOM}; transfer-syntax="*"'})
            if got.status_code != 200 or data not in got.content:
                wrong.append(f"{path} is {got.status_code}, or other bytes")
        return wrong

    async def _of_objects(self) -> list[str]:
        told = await found(self.archive)
        bad = {state.value: len(them) for state, them in told.items() if state is not State.WHOLE}
        return [f"verify finds {bad}"] if bad else []

    async def _of_staging(self) -> list[str]:
        """Say what is left; an answer may come while the last part is still thrown away."""
        for _ in range(500):
            if not self._left_in_staging():
                break
            await asyncio.sleep(0.02)
        return self._left_in_staging()

    def _left_in_staging(self) -> list[str]:
        staging = self.archive.staging
        left = [path.name for path in staging.directory.iterdir()]
        wrong = [f"staged files are left: {left}"] if left else []
        if staging._memory_left != MEMORY_BYTES:
            wrong.append(f"{MEMORY_BYTES - staging._memory_left} bytes are not given back")
        return wrong


def _items(report: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = report.get(tag, {}).get("Value", [])
    return items
