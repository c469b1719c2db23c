"""The only reader of the environment. Frozen; made by entry points and passed down in parts.

A setting is `FILEROOM_` + group + `__` + name, from the environment or a file `.env` in the
working directory; flags of `serve` go before both. A secret may stand in a file that `…_FILE`
names. What is not known is refused, so that a slip of the pen never goes unseen.
"""

import dataclasses
import difflib
import ipaddress
import itertools
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.bridge_settings import Dimse
from app.dicom.limits import Limits
from app.objects.bucket import Bucket, overlap
from app.setting_groups import (
    BETWEEN,
    PREFIX,
    Audit,
    Auth,
    Backup,
    Database,
    Http,
    Jobs,
    Log,
    Objects,
    Retention,
    SettingsError,
    positive,
    read_secret,
)

if TYPE_CHECKING:
    from app.archive.context import Place
    from app.archive.working import Duties

__all__ = [
    "METRICS_VARIABLE",
    "PREFIX",
    "Audit",
    "Auth",
    "Database",
    "Http",
    "Objects",
    "Retention",
    "Settings",
    "SettingsError",
    "is_loopback",
    "known_names",
    "load_settings",
]

WILDCARDS = frozenset({"0.0.0.0", "::", "*", ""})  # noqa: S104 - recognised, not bound
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Not ours: `prometheus_client` reads it, and `serve` sets it for the workers."""
DOTENV = Path(".env")
FILES = frozenset({f"{PREFIX}AUTH{BETWEEN}KEY_FILE", f"{PREFIX}DIMSE{BETWEEN}KEY_FILE"})
"""Settings that are files themselves; another `…_FILE` holds the value of the setting before it."""


class Settings(BaseSettings):
    """All settings. Field names are the variables' names in small letters."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=BETWEEN,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    data_dir: Path = Path("data")
    http: Http = Http()
    database: Database = Database()
    objects: Objects = Objects()
    backup: Backup = Backup()
    auth: Auth = Auth()
    dimse: Dimse = Dimse()
    limits: Annotated[Limits, AfterValidator(positive)] = Limits()
    jobs: Jobs = Jobs()
    retention: Retention = Retention()
    audit: Audit = Audit()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, then variables."""
        return init_settings, _Variables(settings_cls)

    @model_validator(mode="after")
    def _nobody_unknown_from_elsewhere(self) -> Self:
        if not self.auth.has_identity_source and not is_loopback(self.http.host):
            raise ValueError(
                f"{PREFIX}HTTP{BETWEEN}HOST {self.http.host} would let other machines in, and "
                f"nobody is asked who they are. Set {PREFIX}AUTH{BETWEEN}KEYS=true and make a key "
                "(`fileroom keys create NAME --admin`), or set "
                f"{PREFIX}AUTH{BETWEEN}KEY_FILE to a file that holds one "
                "(`openssl rand -hex 32` makes it), or listen on 127.0.0.1."
            )
        return self

    @model_validator(mode="after")
    def _copies_lie_elsewhere(self) -> Self:
        places = [self.bucket or self.objects_directory, *(it.where for it in self.objects.copies)]
        if any(overlap(one, other) for one, other in itertools.combinations(places, 2)):
            raise ValueError(
                f"{PREFIX}OBJECTS{BETWEEN}COPIES: each store needs a place of its own, and none "
                "may lie in another"
            )
        return self

    @property
    def objects_directory(self) -> Path:
        """Where the objects lie: beside the index unless another place is set. Objects for a
        bucket wait here."""
        place = self.objects.place
        return place if isinstance(place, Path) else (self.data_dir / "objects").absolute()

    @property
    def bucket(self) -> Bucket | None:
        """The bucket that holds the objects and how it is reached, None for a directory."""
        place = self.objects.place
        return place if isinstance(place, Bucket) else None

    def backup_place(self, named: str | None) -> Path | Bucket:
        """Return where backups are, by name (a path or a URL) or as it is set.

        Raises:
            SettingsError: nothing is named, or the name is of no such place.
        """
        backup = self.backup
        if named and "://" not in named:
            named = Path(named).absolute().as_uri()
        try:
            place = Backup(**{**dict(backup), "url": named or backup.url}).place
        except ValidationError:
            raise SettingsError(
                f"{named} is no place for backups: they lie in a directory or a bucket, such as "
                "/mnt/backup, s3://bucket/prefix, gs://bucket, az://container"
            ) from None
        if place is None:
            raise SettingsError(f"Name the place, or set {PREFIX}BACKUP{BETWEEN}URL.")
        return place

    @property
    def postgres_directory(self) -> Path:
        """Where our own PostgreSQL lives, if it is ours."""
        return (self.data_dir / "postgres").absolute()

    @property
    def base_url(self) -> str:
        """The address that clients use, without a slash at its end."""
        host = self.http.host
        if host in WILDCARDS:
            host = socket.gethostname()  # a wildcard is no address that a client could use
        host = f"[{host}]" if ":" in host else host
        own = f"{'https' if self.http.tls_cert else 'http'}://{host}:{self.http.port}"
        return (self.http.public_url or own) + self.http.root_path

    def with_database(self, url: str) -> "Settings":
        """Return the same settings with the index at `url`."""
        database = self.database.model_copy(update={"url": SecretStr(url)})
        return self.model_copy(update={"database": database})

    def place(self) -> "Place":
        """Return what `open_archive` needs. The URL of the database has to be known by now."""
        from app.archive.context import Place  # noqa: PLC0415 - the parent of `serve` is light

        if self.database.url is None:
            raise SettingsError("the URL of the database is not known yet")
        return Place(
            database_url=self.database.url.get_secret_value(),
            objects=self.objects_directory,
            bucket=self.bucket,
            copies=self.objects.copies,
            cache=(self.data_dir / "cache").absolute(),
            pool_size=self.database.pool_size,
            cache_bytes=self.objects.cache_bytes,
            near_bytes=self.objects.near_bytes,
            codec_workers=self.jobs.codec_workers,
            codec_memory_bytes=self.jobs.codec_memory,
            codec_seconds=self.jobs.codec_seconds,
            limits=self.limits,
            apart=True,
            deleted_days=self.retention.deleted_days if self.retention.purge else None,
            commitment_seconds=self.jobs.commitment_seconds,
            commitment_days=self.retention.commitment_days,
        )

    def duties(self) -> "Duties":
        """Return what the archive does by itself."""
        from app.archive.audit_outlets import AuditOutlets  # noqa: PLC0415 - as below
        from app.archive.audit_syslog import TlsFiles  # noqa: PLC0415 - as below
        from app.archive.working import Duties  # noqa: PLC0415 - the parent of `serve` is light

        audit = self.audit
        return Duties(
            inside_serve=self.jobs.inside_serve,
            thumbnails=self.jobs.thumbnails,
            scrub_days=self.jobs.scrub_days,
            scrub_rate=self.jobs.scrub_rate,
            rules=self.retention.rules,
            audit=AuditOutlets(
                source=urlsplit(self.base_url).hostname or "fileroom",
                syslog=audit.syslog,
                files=TlsFiles(audit.ca, audit.certificate, audit.key),
                fhir=audit.fhir_url,
                fhir_token=audit.fhir_token.get_secret_value() if audit.fhir_token else "",
            ),
        )


def is_loopback(host: str) -> bool:
    """Say whether a host to listen on is for this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def known_names() -> Iterator[str]:
    """Yield the variables that are understood, `…_FILE` for secrets included."""
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and dataclasses.is_dataclass(group):
            for entry in dataclasses.fields(group):
                yield f"{PREFIX}{name}{BETWEEN}{entry.name}".upper()
        else:
            yield from _names(f"{PREFIX}{name}".upper(), group)


def _names(variable: str, annotation: Any) -> Iterator[str]:
    """Yield the variable of one setting, or those of a group of settings."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield from _names(f"{variable}{BETWEEN}{name}".upper(), field.annotation)
        return
    yield variable
    if any(kind in str(annotation) for kind in ("SecretStr", "CopyPlace", "Peer,")):
        yield f"{variable}_FILE"


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings; `overrides` (nested, as flags give them) go before all else.

    Raises:
        SettingsError: a variable is not known, or its value cannot be used.
    """
    _refuse_unknown()
    try:
        settings = Settings(**(overrides or {}))
    except ValidationError as error:
        raise SettingsError("\n".join(_sentences(error))) from None
    settings.auth.key()
    return settings


def _variables() -> dict[str, str]:
    """Return what is set, from `.env` and the environment, which goes before it."""
    file = {name: value or "" for name, value in dotenv_values(DOTENV, encoding="utf-8").items()}
    given = {**file, **os.environ}
    return {name.upper(): value for name, value in given.items() if _is_ours(name)}


def _is_ours(name: str) -> bool:
    return name.upper().startswith(PREFIX)


def _refuse_unknown() -> None:
    known = set(known_names())
    for name in _variables():
        if name not in known:
            ends = [other.removeprefix(PREFIX) for other in known]
            near = difflib.get_close_matches(name.removeprefix(PREFIX), ends, n=1, cutoff=0.4)
            hint = f" Did you mean {PREFIX}{near[0]}?" if near else ""
            raise SettingsError(f"{name} is not a setting of this version.{hint}")


class _Variables(EnvSettingsSource):
    """`.env` and the environment together, each secret from the file that `…_FILE` names."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        given = _variables()
        for name in known_names():
            if name.endswith("_FILE") and name not in FILES and given.get(name):
                path = Path(given.pop(name))
                if given.get(name.removesuffix("_FILE")):
                    raise SettingsError(f"Set {name} or {name.removesuffix('_FILE')}, not both.")
                given[name.removesuffix("_FILE")] = read_secret(name, path)
        return {name.lower(): value for name, value in given.items() if value}


def _sentences(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_input=False):
        message = fault["msg"].removeprefix("Value error, ")
        names = [str(part) for part in fault["loc"]]
        yield f"{PREFIX}{BETWEEN.join(names).upper()}: {message}" if names else message
