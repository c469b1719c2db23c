"""OHIF for who has to show who they are: by a session, a ticket, a token, a login of its own."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from benchmarks.server import free_port
from tests.browser.install import PROVIDER
from tests.browser.ohif import CONFIG, HERE, MARKS, NODE, ct_series, image_of, run, store, watch
from tests.browser.ohif import viewer_running as running
from tests.live_server import LiveServer, serve

pytestmark = [
    *MARKS,
    pytest.mark.skipif(
        not (PROVIDER / "node_modules").is_dir(), reason="what `make browser` gets is needed"
    ),
]
PASSWORD = "a long password of anna's"
LOGIN_OF_ITS_OWN = """
  oidc: [{
    authority: 'ISSUER', client_id: 'ohif', redirect_uri: '/callback', response_type: 'code',
    scope: 'openid', loadUserInfo: false,
  }],
};"""


@dataclass(frozen=True)
class Scene:
    """An archive and a provider; OHIF at its own address, at the archive's, and with a login."""

    archive: LiveServer
    issuer: str
    apart: str
    beside: str
    with_login: str
    key: str
    study: str
    other: str

    def link(self, viewer: str, study: str = "", **more: str) -> str:
        query = httpx.QueryParams({"StudyInstanceUIDs": study or self.study, **more})
        return f"{viewer}/viewer?{query}"

    def ticket(self) -> str:
        headers = {"Authorization": f"Bearer {self.key}"}
        body = {"study": self.study, "verbs": ["search", "view"]}
        answer = httpx.post(f"{self.archive.url}/api/v1/tickets", json=body, headers=headers)
        return str(answer.raise_for_status().json()["ticket"])

    def token(self) -> str:
        form = {"grant_type": "client_credentials", "resource": "urn:fileroom", "scope": "read"}
        auth = ("fileroom", "a-secret-of-the-test")
        answer = httpx.post(f"{self.issuer}/token", data=form, auth=auth)
        return str(answer.raise_for_status().json()["access_token"])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    apart, beside, with_login, provider = (free_port() for _ in range(4))
    issuer = f"http://127.0.0.1:{provider}"
    settings = {
        "HTTP__CORS_ORIGINS": f"http://127.0.0.1:{apart},http://127.0.0.1:{with_login}",
        "HTTP__TRUSTED_PROXIES": "127.0.0.1",
        "AUTH__KEYS": "true",
        "AUTH__LOGIN": "true",
        "AUTH__OIDC__ISSUER": issuer,
        "AUTH__OIDC__AUDIENCE": "fileroom",
    }
    directory = tmp_path_factory.mktemp("archive")
    named = {f"FILEROOM_{name}": value for name, value in settings.items()}
    with serve(directory, environment=named) as archive:
        key = run(archive.data_dir, "keys", "create", "tester", "--admin")
        (directory / "password").write_text(PASSWORD)
        file = str(directory / "password")
        run(archive.data_dir, "users", "add", "anna", "--role", "viewer", "--password-file", file)
        studies = []
        for patient in ("OHIF-2", "OHIF-3"):
            store(archive, *(file for _, file in ct_series(PatientID=patient)), key=key)
            found = httpx.get(
                f"{archive.dicomweb}/studies",
                params={"PatientID": patient},
                headers={"Authorization": f"Bearer {key}"},
            )
            studies.append(str(found.json()[0]["0020000D"]["Value"][0]))
        elsewhere = CONFIG.replace("ARCHIVE", archive.dicomweb)
        here = CONFIG.replace("ARCHIVE", f"http://127.0.0.1:{beside}/dicom-web")
        own = elsewhere.replace(
            "routerBasename: null", "routerBasename: '/'"
        ).rstrip().removesuffix("};") + LOGIN_OF_ITS_OWN.replace("ISSUER", issuer)
        with (
            _provider(provider, f"http://127.0.0.1:{with_login}"),
            running(apart, elsewhere) as one,
            running(beside, here, archive.url) as two,
            running(with_login, own) as three,
        ):
            yield Scene(archive, issuer, one, two, three, key, *studies)


class _provider:  # noqa: N801 - a context, used as a function
    """The provider while the block runs."""

    def __init__(self, port: int, viewer: str) -> None:
        serving = str(HERE / "provider" / "serve.mjs")
        self._command = [NODE, serving, str(port), "http://127.0.0.1:9/none", str(PROVIDER), viewer]

    def __enter__(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _is_sphere(picture: Path) -> bool:
    """Say whether pixels of the sphere are on a picture: many greys, and not all of it black."""
    middle = image_of(picture)
    return np.unique(middle).size > 30 and float(middle.mean()) > 10


def test_a_session_of_the_archive_is_enough_for_ohif_at_its_address(
    scene: Scene, tmp_path: Path
) -> None:
    picture, link = tmp_path / "session.png", scene.link(scene.beside)
    then = httpx.QueryParams({"next": link.removeprefix(scene.beside)})
    seen = watch(
        tmp_path,
        {"open": f"{scene.beside}/login?{then}"},
        {"log in": ["anna", PASSWORD]},
        {"draw": 90},
        {"picture": str(picture)},
    )
    assert seen["refused"] == []
    assert set(seen["asked"]) == {scene.beside}  # no header: the cookie alone
    assert _is_sphere(picture)


def test_without_a_session_nothing_is_shown(scene: Scene, tmp_path: Path) -> None:
    seen = watch(tmp_path, {"open": scene.link(scene.beside)}, {"wait": 5})
    assert seen["refused"]
    assert all(one.startswith("401 ") for one in seen["refused"])


def test_a_link_with_a_ticket_opens_its_study(scene: Scene, tmp_path: Path) -> None:
    ticket, picture = scene.ticket(), tmp_path / "ticket.png"
    seen = watch(
        tmp_path,
        {"open": scene.link(scene.apart, token=ticket)},
        {"draw": 90},
        {"picture": str(picture)},
    )
    assert seen["refused"] == []
    assert set(seen["asked"]) == {f"{scene.archive.url} Bearer {ticket}"}
    assert ticket not in seen["at"]
    assert _is_sphere(picture)
    assert ticket not in scene.archive.log.read_text()


def test_a_link_with_a_ticket_opens_no_other_study(scene: Scene, tmp_path: Path) -> None:
    link = scene.link(scene.apart, scene.other, token=scene.ticket())
    seen = watch(tmp_path, {"open": link}, {"wait": 8}, {"picture": str(tmp_path / "none.png")})
    assert seen["asked"]
    assert not _is_sphere(tmp_path / "none.png")


def test_a_token_of_the_provider_is_taken_across_origins(scene: Scene, tmp_path: Path) -> None:
    token, picture = scene.token(), tmp_path / "token.png"
    seen = watch(
        tmp_path,
        {"open": scene.link(scene.apart, token=token)},
        {"draw": 90},
        {"picture": str(picture)},
    )
    assert seen["refused"] == []
    assert set(seen["asked"]) == {f"{scene.archive.url} Bearer {token}"}
    assert _is_sphere(picture)


def test_ohif_logs_its_reader_in_at_the_provider(scene: Scene, tmp_path: Path) -> None:
    """By OHIF's own configuration `oidc`: the code flow, then its token across origins."""
    picture = tmp_path / "login.png"
    seen = watch(
        tmp_path,
        {"open": scene.link(scene.with_login)},
        {"log in at": "anna"},
        {"draw": 90},
        {"picture": str(picture)},
    )
    refused = [one for one in seen["refused"] if scene.archive.url in one]
    assert refused == []
    assert all(one.startswith(f"{scene.archive.url} Bearer ey") for one in seen["asked"])
    assert _is_sphere(picture)
