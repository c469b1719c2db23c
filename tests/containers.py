"""Builds and runs our images without an engine: the Dockerfile's own words, in namespaces.

A base image is this machine, seen through an overlay whose upper half lies in memory; each stage of
the Dockerfile is one more overlay. What an engine would do to a container is done to a process: a
root of its own that is read-only, a data volume, an unprivileged user without capabilities, its own
process ids, and one network for all that has no way out. Needs root.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

TOOLS = ("unshare", "nsenter", "setpriv", "chroot", "ip")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
WITH_US = ("setpriv", "--pdeathsig=KILL")
"""Nothing outlives a test run that is killed."""
NO_PRIVILEGES = ("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--clear-groups")
STOP_SECONDS = 30


def can_run() -> bool:
    """Say whether this process may make namespaces and has the tools."""
    return os.geteuid() == 0 and all(shutil.which(tool) for tool in TOOLS)


@dataclass
class Stage:
    """A stage of a Dockerfile as far as it has been carried out."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = "root"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def inside(self, path: str) -> Path:
        """Return where a path of the image lies outside it."""
        return self.root / os.path.normpath(f"{self.directory}/{path}"[-len(path) :]).lstrip("/")


class Machine:
    """Holds the namespaces; `space` is where roots are mounted, seen only from inside."""

    def __init__(self, space: Path) -> None:
        self.space = space
        script = (
            'mount -t tmpfs none "$0" && ip link set lo up && echo ready && exec sleep infinity'
        )
        self._holder = subprocess.Popen(
            [
                *WITH_US,
                "unshare",
                "--mount",
                "--net",
                "--propagation=private",
                "sh",
                "-ec",
                script,
                space,
            ],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"

    def close(self) -> None:
        """End the namespaces; everything mounted in them goes with them."""
        self._holder.kill()
        self._holder.communicate()

    def enter(self, *namespaces: str) -> list[str]:
        """Return the words that put a command into the namespaces."""
        return ["nsenter", "--target", str(self._holder.pid), *namespaces, "--"]

    def run(self, *command: str, network: str = "--net") -> str:
        """Run a command with our mounts and return what it prints; it must succeed."""
        done = subprocess.run(
            [*self.enter("--mount", *filter(None, [network])), *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def overlay(self, name: str) -> Path:
        """Mount this machine as a root whose changes stay in memory."""
        upper, work, root = (self.space / name / part for part in ("upper", "work", "root"))
        self.run("mkdir", "-p", str(upper), str(work), str(root))
        options = f"lowerdir=/,upperdir={upper},workdir={work}"
        self.run("mount", "-t", "overlay", "overlay", "-o", options, str(root))
        for device in ("dev", "proc"):
            self.run("mount", "--rbind", f"/{device}", str(root / device))
        for folder in reversed(Path(sys.base_prefix).parents):
            # In a base image Python is for everyone; here it may lie in root's home.
            self.run("chmod", "o+rx", str(root / folder.relative_to("/")))
        return root


def build(machine: Machine, dockerfile: Path) -> Stage:
    """Carry out a Dockerfile and return its last stage."""
    stages: list[tuple[str, Stage]] = []
    for word, rest in _instructions(dockerfile.read_text()):
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "last"
            stages.append((name, Stage(machine.overlay(name))))
        elif word == "RUN":
            _run(machine, stages[-1][1], rest)
        elif word == "COPY":
            _copy(machine, stages[-1][1], rest, dockerfile.parent, dict(stages))
        elif stages:
            _note(machine, stages[-1][1], word, rest)
    return stages[-1][1]


def _instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.MULTILINE)
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            yield word, rest.strip()


def _run(machine: Machine, stage: Stage, script: str) -> None:
    for target in re.findall(r"--mount=type=cache,target=(\S+)", script):
        inside = str(stage.root / target.lstrip("/"))
        machine.run("mkdir", "-p", str(CACHE), inside)
        machine.run("mount", "--bind", str(CACHE), inside)
    path = f"{sys.base_prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    script = f"cd {stage.directory}; {re.sub(r'--mount=[^ ]+', '', script)}"
    machine.run("chroot", str(stage.root), "env", f"PATH={path}", "sh", "-ec", script, network="")


def _copy(
    machine: Machine, stage: Stage, rest: str, context: Path, stages: Mapping[str, Stage]
) -> None:
    *sources, target = shlex.split(rest)
    if sources[0].startswith("--from="):
        context = stages[sources.pop(0).removeprefix("--from=")].root
    to = stage.root / os.path.join(stage.directory, target).lstrip("/")  # noqa: PTH118
    into = len(sources) > 1 or target.endswith("/") or target == "./"
    machine.run("mkdir", "-p", str(to if into else to.parent))
    for source in sources:
        place = to / Path(source).name if into else to
        machine.run("cp", "-a", "-T", str(context / source.lstrip("/")), str(place))


def _note(machine: Machine, stage: Stage, word: str, rest: str) -> None:
    if word == "ENV":
        stage.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
    elif word == "WORKDIR":
        stage.directory = rest
        machine.run("mkdir", "-p", str(stage.root / rest.lstrip("/")))
    elif word == "USER":
        stage.user = rest
    elif word == "ENTRYPOINT":
        stage.entrypoint = json.loads(rest)
    elif word == "CMD":
        stage.command = json.loads(rest)
    elif word == "HEALTHCHECK":
        stage.health = json.loads(rest[rest.index("[") :])
    else:
        assert word in {"ARG", "EXPOSE", "LABEL", "STOPSIGNAL", "VOLUME"}, word


@dataclass(frozen=True)
class Container:
    """A running container. Its first process is `process`'s only child."""

    process: subprocess.Popen[bytes]
    log: Path
    enter: list[str]

    @property
    def _first(self) -> str:
        task = f"/proc/{self.process.pid}/task/{self.process.pid}"
        return Path(task, "children").read_text().strip()

    def stop(self) -> int:
        """Send SIGTERM to its first process, as an engine does, and return how that ended."""
        os.kill(int(self._first), signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def execute(self, *command: str) -> str:
        """Run a command in it, as `docker exec` does; it must succeed."""
        enter = ["nsenter", "--target", self._first, "--mount", "--net", "--pid", "--", *self.enter]
        return subprocess.run(
            [*enter, *command], capture_output=True, text=True, check=True, timeout=60
        ).stdout


@contextmanager
def run(
    machine: Machine,
    image: Stage,
    log: Path,
    *,
    command: Sequence[str] | None = None,
    environment: Mapping[str, str] = {},
    mounts: Mapping[str, Path] = {},
) -> Iterator[Container]:
    """Run a container on a read-only root until the block ends; `mounts` are volumes and secrets.

    Where the image has a user, that user runs it, without any capability.
    """
    root = shlex.quote(str(image.root))
    steps = [f"mount -t proc proc {root}/proc"]
    for place in ("/tmp", "/run", "/dev/shm"):  # noqa: S108 - a container's own
        steps += [f"mount -t tmpfs -o size=64m none {root}{place}"]
    for target, source in mounts.items():
        make = "mkdir -p" if source.is_dir() else f"mkdir -p {root}{Path(target).parent}; touch"
        steps += [f"[ -e {root}{target} ] || {{ {make} {root}{target}; }}"]
        steps += [f"mount --bind {shlex.quote(str(source))} {root}{target}"]
    steps += [f"mount -o remount,bind,ro {root}"]
    enter = ["chroot", str(image.root)]
    if image.user != "root":
        enter += ["setpriv", f"--reuid={image.user}", f"--regid={image.user}", *NO_PRIVILEGES]
    variables = {**image.environment, **environment}
    pairs = [f"{name}={value}" for name, value in variables.items()]
    enter += ["env", "-i", f"--chdir={image.directory}", *pairs]
    words = [*enter, *image.entrypoint, *(image.command if command is None else command)]
    isolate = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
    script = "\n".join([*steps, f"exec {shlex.join(words)}"])
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*WITH_US, *machine.enter("--mount", "--net"), *isolate, "sh", "-ec", script],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    container = Container(process, log, enter)
    try:
        yield container
    finally:
        with suppress(OSError, ValueError):  # it has changed its user, so it outlives its parent
            os.kill(int(container._first), signal.SIGKILL)
        process.kill()
        process.wait()
