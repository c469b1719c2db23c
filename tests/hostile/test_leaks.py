"""No secret and nothing of a patient stands where it does not belong (issue 6, item 7).

A server that logs all it can is asked for every operation of its contract, in every way that
`tests.hostile.leaks` knows; some of what it depends on does not answer. Then its logs, those of its
PostgreSQL, the arguments of its processes, its metrics and every answer that is an error are read.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from app.dicom.non_patient import CATEGORIES
from tests.hostile.leaks import MARK, NAME, Secrets, World
from tests.live_server import FILEROOM, LiveServer, clean_environment, serve

NOWHERE = "127.0.0.1:9"
SETTINGS = {
    "AUTH__KEYS": "true",
    "AUTH__BASIC": "true",
    "AUTH__LOGIN": "true",
    "AUTH__OIDC__ISSUER": f"http://{NOWHERE}/realm",
    "AUTH__OIDC__AUDIENCE": "us",
    "AUDIT__SYSLOG": f"tls://{NOWHERE}",
    "AUDIT__FHIR_URL": f"http://{NOWHERE}/fhir",
    "LOG__LEVEL": "debug",
    "LOG__ACCESS": "true",
    "LOG__FORMAT": "json",
}
IN_FILES = {
    "AUTH__KEY": "kanari-key-of-the-administrator",
    "AUTH__OIDC__CLIENT_SECRET": "kanari-client-secret",
    "AUDIT__FHIR_TOKEN": "kanari-fhir-token",
    "BACKUP__SECRET_KEY": "kanari-backup-key",
}
"""Settings that are secrets, as `…_FILE`; those of a database and of a bucket are tried apart."""
COPIES = (
    f'[{{"name": "far", "mode": "async", "url": "s3://bucket", "endpoint": "http://{NOWHERE}",'
    ' "region": "r", "access_key": "a", "secret_key": "kanari-s3-key"}]'
)
SAID_BACK = ("application/kanari", "type=kanari")
"""A media type is repeated to who sent it, so that it is seen what was not taken."""


@dataclass
class Heard:
    """What was said, by where it was said."""

    server: LiveServer
    secrets: Secrets
    errors: list[tuple[str, str]] = field(default_factory=list)
    requests: int = 0
    faults: list[tuple[str, int]] = field(default_factory=list)

    def leaked(self, text: str) -> list[str]:
        """Return the lines of a text that say what they may not."""
        for allowed in SAID_BACK:
            text = text.replace(allowed, "")
        words = [one.lower() for one in self.secrets.all()]
        return [
            line[:400]
            for line in text.splitlines()
            if MARK in line.lower() or any(word in line.lower() for word in words)
        ]


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    """A server that has been asked for everything."""
    directory = tmp_path_factory.mktemp("leaks")
    environment = {f"FILEROOM_{name}": value for name, value in SETTINGS.items()}
    environment["FILEROOM_OBJECTS__SECRET_KEY"] = "kanari-as-a-variable"
    for name, value in IN_FILES.items():
        path = directory / name.lower()
        path.write_text(f"{value}\n")
        environment[f"FILEROOM_{name}_FILE"] = str(path)
    secrets = Secrets(IN_FILES["AUTH__KEY"])
    with serve(directory, environment=environment) as server:
        _add_user(server, secrets, directory)
        with httpx.Client(base_url=server.url, timeout=60) as client:
            heard = Heard(server, secrets)
            _ask_everything(client, heard)
        yield heard


def _add_user(server: LiveServer, secrets: Secrets, directory: Path) -> None:
    (directory / "password").write_text(secrets.password)
    subprocess.run(
        [FILEROOM, "users", "add", "meier", "--role", "viewer", "--password-file", "password",
         "--data-dir", str(server.data_dir)],
        cwd=directory, env=clean_environment(), check=True, capture_output=True,
    )  # fmt: skip


def _ask_everything(client: httpx.Client, heard: Heard) -> None:
    secrets, world = heard.secrets, World(client, heard.secrets)
    key = {"name": "a", "roles": ["viewer"]}
    secrets.key = client.post("/api/v1/keys", json=key, headers=world.admin).json()["key"]
    form = {"name": "meier", "password": secrets.password}
    origin = {"Origin": heard.server.url}
    _note(heard, client.post("/login", data={"name": NAME, "password": MARK}, headers=origin))
    begun = client.post("/login", data=form, headers=origin)
    assert begun.status_code == 303, begun.text
    secrets.session = begun.cookies["fileroom"]
    client.cookies.clear()
    contract = client.get("/openapi.json").json()
    for template, item in contract["paths"].items():
        for method, operation in item.items():
            world.make()
            variants = list(world.variants(method.upper(), template, operation))
            for path, given in variants if _is_unlike(template) else variants[:: -len(CATEGORIES)]:
                answer = client.request(method, path, **given)
                client.cookies.clear()
                _note(heard, answer)
    for path in (
        "/",
        "/docs",
        "/logout",
        "/login",
        "/auth/callback",
        f"/{NAME}",
        f"/static/{NAME}",
    ):
        _note(heard, client.get(path, params={"next": NAME, "state": NAME, "error": NAME}))


def _is_unlike(template: str) -> bool:
    """Say whether an operation is no other one with another category in its path."""
    _, category, *_ = f"{template.removeprefix('/dicom-web')}/".split("/")
    return category not in CATEGORIES or category == min(CATEGORIES)


def _note(heard: Heard, answer: httpx.Response) -> None:
    heard.requests += 1
    path = answer.request.url.path
    if answer.is_error:
        heard.errors.append((path, f"{answer.text}\n{_shown(answer)}"))
    if answer.status_code == 500:
        heard.faults.append((path, answer.status_code))


def _shown(answer: httpx.Response) -> str:
    return "\n".join(f"{name}: {value}" for name, value in answer.headers.items())


@pytest.mark.slow
def test_the_log_has_every_request_and_nothing_of_anybody(heard: Heard) -> None:
    log = heard.server.log.read_text()
    assert log.count('"event": "request"') >= heard.requests
    assert heard.leaked(log) == []


@pytest.mark.slow
def test_no_request_whatever_stands_in_it_is_a_fault_of_ours(heard: Heard) -> None:
    assert heard.faults == []
    assert '"request failed"' not in heard.server.log.read_text()


@pytest.mark.slow
def test_no_error_repeats_a_name_or_a_secret(heard: Heard) -> None:
    assert len(heard.errors) > 1000
    leaking = [(path, heard.leaked(text)) for path, text in heard.errors if heard.leaked(text)]
    assert leaking == []


@pytest.mark.slow
def test_the_log_of_postgresql_has_nothing_of_anybody(heard: Heard) -> None:
    logs = [path for path in heard.server.data_dir.rglob("*.log*") if path.is_file()]
    assert logs
    assert [line for path in logs for line in heard.leaked(path.read_text(errors="replace"))] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/metrics", "/health/live", "/health/ready", "/openapi.json"])
def test_what_monitoring_reads_has_nothing_of_anybody(heard: Heard, path: str) -> None:
    headers = {"Authorization": f"Bearer {heard.secrets.administrator}"}
    answer = httpx.get(heard.server.url + path, headers=headers)
    assert answer.status_code == 200
    assert heard.leaked(answer.text) == []


@pytest.mark.slow
def test_no_process_shows_a_secret_in_its_arguments_or_hands_one_down(heard: Heard) -> None:
    parent = psutil.Process(heard.server.process.pid)
    children = parent.children(recursive=True)
    assert len(children) > 3
    shown = [" ".join(one.cmdline()) for one in (parent, *children)]
    assert [line for text in shown for line in heard.leaked(text)] == []
    of_codecs_and_index = [one for one in children if "app.cli" not in " ".join(one.cmdline())]
    assert len(of_codecs_and_index) > 2
    handed = [" ".join(one.environ().values()) for one in of_codecs_and_index]
    assert [line for text in handed for line in heard.leaked(text)] == []


@pytest.mark.slow
def test_doctor_and_the_lists_of_operators_say_nothing_secret(heard: Heard, tmp_path: Path) -> None:
    environment = clean_environment(
        {
            f"FILEROOM_{name}_FILE": str(heard.server.data_dir.parent / name.lower())
            for name in IN_FILES
        }
    )
    for command in (["doctor"], ["keys", "list"], ["users", "list"], ["tickets", "list"]):
        done = subprocess.run(
            [FILEROOM, *command, "--data-dir", str(heard.server.data_dir)],
            cwd=tmp_path, env=environment, check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout, done.stderr
        assert heard.leaked(done.stdout + done.stderr) == []


@pytest.mark.slow
def test_what_opens_a_database_or_a_bucket_that_does_not_answer_is_not_shown(
    tmp_path: Path,
) -> None:
    url = f"postgresql://someone:kanari-password@{NOWHERE}/fileroom"
    (tmp_path / "copies").write_text(COPIES)
    asked = {"DATABASE__URL": url, "OBJECTS__COPIES_FILE": "copies", "OBJECTS__URL": "s3://bucket"}
    bucket = {"ENDPOINT": f"http://{NOWHERE}", "ACCESS_KEY": "a", "SECRET_KEY": "kanari-s3-key"}
    asked |= {f"OBJECTS__{name}": value for name, value in bucket.items()}
    for command in (["doctor"], ["serve", "--port", "0"], ["migrate"]):
        done = subprocess.run(
            [FILEROOM, *command],
            cwd=tmp_path,
            env=clean_environment({f"FILEROOM_{name}": value for name, value in asked.items()}),
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode != 0
        assert done.stdout + done.stderr
        assert MARK not in done.stdout + done.stderr
