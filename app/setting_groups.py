"""The groups of settings, and what each value has to look like."""

import dataclasses
import re
from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import NoDecode

from app.dicom.limits import Limits
from app.objects.bucket import Bucket, CopyPlace, objects_address, read_copies
from app.rights import Role

PREFIX = "FILEROOM_"
BETWEEN = "__"
SHORTEST_KEY = 16
SIGNATURES = tuple(f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512))
SIGNATURES += ("EdDSA",)
"""Algorithms by which tokens may be signed: those with a public key, and none else."""


class SettingsError(ValueError):
    """The settings cannot be used; the message names the variable and what it should be."""


def read_secret(name: str, path: Path) -> str:
    """Return what a file holds.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise SettingsError(f"{name}: {path} cannot be read: {why}.") from None


def _words(value: Any) -> Any:
    """Split a list as it stands in a variable: at commas or spaces."""
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


def _path_prefix(value: str) -> str:
    """Begin with a slash and end without one; `/` is none at all."""
    return "/" + value.strip("/") if value.strip("/") else ""


def _parts_of(value: str) -> SplitResult | None:
    """Return an address split, None if it is none; a name or a password in one would be logged."""
    try:
        parts = urlsplit(value)
        good = parts.hostname and parts.port != 0 and parts.username is None
    except ValueError:  # whose words may have what was given in them
        return None
    return parts if good and not (parts.query or parts.fragment) else None


_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@]*)(:\d+)?(\?.*)?$")


def _web_address(value: str) -> str:
    parts = _parts_of(value)
    if parts is None or parts.scheme not in ("http", "https"):
        raise ValueError("should be a web address such as https://pacs.example.org")
    return value.rstrip("/")


def _origin(value: str) -> str:
    parts = _parts_of(value)
    if parts is None or not parts.scheme or "*" in value or parts.path.strip("/"):
        raise ValueError("should be origins such as https://viewer.example.org, each by its name")
    return value.rstrip("/")


def _proxy(value: str) -> str:
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise ValueError("should be addresses or networks of proxies, not names") from None
    if network.prefixlen == 0:
        raise ValueError("should list the proxies: all the world is not to be trusted")
    return value


def _database_address(value: SecretStr) -> SecretStr:
    address = value.get_secret_value()
    if not address.startswith(("postgresql://", "postgres://")):
        raise ValueError("should begin with postgresql://")
    place, _, more = address.partition("://")[2].partition("/")
    who, _, hosts = place.rpartition("@")
    if "@" in more or "#" in address or "?" in who or not all(map(_HOST.match, hosts.split(","))):
        raise ValueError(
            "should be as postgresql://user:password@host:5432/name; "
            "in a password / is written %2F, # %23, ? %3F and @ %40"
        )
    return value


def _pairs(value: Any) -> Any:
    """Split `name=value` pairs at commas or spaces; a name may have `=` in it, a value not."""
    return tuple(
        tuple(word.rpartition("=")[::2]) if isinstance(word, str) else word
        for word in _words(value)
    )


def _named(pairs: Iterable[tuple[str, Any]]) -> Any:
    if not all(name for name, _ in pairs):
        raise ValueError("should be pairs such as name=value, by commas or spaces")
    return pairs


def _issuer(value: str) -> str:
    """Check the name of a provider, which is compared as it stands, slash at its end included."""
    parts = _parts_of(value)
    if parts is None or parts.scheme not in ("http", "https"):
        raise ValueError("should be an address such as https://login.example.org/realms/hospital")
    if _in_plain(value):
        raise ValueError("should begin with https://, unless the provider is on this machine")
    return value


def _in_plain(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


def _signature(value: str) -> str:
    if value not in SIGNATURES:
        raise ValueError(f"{value} is none of {', '.join(SIGNATURES)}")
    return value


def positive(limits: Limits) -> Limits:
    for field in dataclasses.fields(limits):
        if getattr(limits, field.name) <= 0:
            raise ValueError(f"{field.name} should be above 0")
    return limits


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_words)
]
Proxies = Annotated[
    tuple[Annotated[str, AfterValidator(_proxy)], ...], NoDecode, BeforeValidator(_words)
]
Copies = Annotated[tuple[CopyPlace, ...], NoDecode, BeforeValidator(read_copies)]
Roles = Annotated[
    tuple[tuple[str, Role], ...], NoDecode, BeforeValidator(_pairs), AfterValidator(_named)
]
Tenants = Annotated[
    tuple[tuple[str, int], ...], NoDecode, BeforeValidator(_pairs), AfterValidator(_named)
]
Signatures = Annotated[
    tuple[Annotated[str, AfterValidator(_signature)], ...],
    NoDecode,
    BeforeValidator(_words),
    Field(min_length=1),
]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Group(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Http(Group):
    """Where and how the archive listens."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)
    workers: int = Field(default=1, ge=1, le=256)
    public_url: WebAddress | None = None
    root_path: Annotated[str, AfterValidator(_path_prefix)] = ""
    trusted_proxies: Proxies = ()
    cors_origins: Origins = ()
    header_seconds: Seconds = 30
    keep_alive_seconds: Seconds = 75
    drain_seconds: Seconds = 20
    connections: int = Field(default=1_000, ge=1)
    connections_per_address: int = Field(default=500, ge=1)
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @model_validator(mode="after")
    def _certificate_and_key_together(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            name = f"{PREFIX}HTTP{BETWEEN}TLS_"
            raise ValueError(f"{name}CERT and {name}KEY are set together, or neither")
        return self


class Database(Group):
    """The index. Without a URL the archive runs a PostgreSQL of its own."""

    url: Annotated[SecretStr, AfterValidator(_database_address)] | None = None
    pool_size: int = Field(default=8, ge=1, le=500)
    shared_buffers: ByteSize = Field(default=ByteSize(64 * 2**20), ge=2**20)
    max_connections: int = Field(default=60, ge=10, le=10_000)


class Store(Group):
    """A directory or a bucket, and how it is reached."""

    url: Annotated[str, AfterValidator(objects_address)] | None = None
    endpoint: WebAddress | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: SecretStr | None = None

    @property
    def place(self) -> Path | Bucket | None:
        """The directory or the bucket, None where nothing is set."""
        parts = urlsplit(self.url or "")
        if self.url is None or parts.scheme == "file":
            return Path(unquote(parts.path)) if self.url else None
        secret = self.secret_key.get_secret_value() if self.secret_key else None
        return Bucket(self.url, self.endpoint, self.region, self.access_key, secret)


class Objects(Store):
    """Where bytes are kept."""

    cache_bytes: ByteSize = Field(default=ByteSize(2 * 2**30), ge=0)
    near_bytes: ByteSize = Field(default=ByteSize(2**30), ge=0)
    copies: Copies = ()


class Backup(Store):
    """Where backups go, and the public keys that they are encrypted to."""

    recipients: Words = ()


class Oidc(Group):
    """The provider of OpenID Connect that callers are known by, and what its claims mean."""

    issuer: Annotated[str, AfterValidator(_issuer)] | None = None
    audience: Words = ()
    client_id: str | None = None
    client_secret: SecretStr | None = None
    scopes: Words = ("openid", "profile", "email")
    algorithms: Signatures = ("RS256", "PS256", "ES256", "EdDSA")
    name_claim: str = "sub"
    roles_claim: Words = ("roles",)
    role_map: Roles = ()
    labels_claim: str | None = None
    patient_issuer: str = ""
    tenant_claim: str | None = None
    tenants: Tenants = ()
    clock_skew: float = Field(default=60, ge=0, le=600)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.issuer is None and (self.audience or self.client_id):
            raise ValueError("ISSUER names the provider that AUDIENCE and CLIENT_ID are of")
        if self.issuer is not None and not (self.audience or self.client_id):
            raise ValueError("with ISSUER set AUDIENCE for tokens, CLIENT_ID for browsers, or both")
        if self.tenant_claim and not self.tenants:
            raise ValueError("with TENANT_CLAIM set TENANTS: pairs such as its-value=1")
        return self


class Auth(Group):
    """How callers are known. Without a source the operator on this machine alone is served."""

    key_file: Path | None = None
    keys: bool = False
    basic: bool = False
    login: bool = False
    oidc: Oidc = Oidc()
    session_idle_seconds: Seconds = 1_800
    session_seconds: Seconds = 43_200
    override_seconds: float = Field(default=3_600, ge=0, le=86_400)

    @property
    def has_identity_source(self) -> bool:
        """Whether callers have to show who they are."""
        by_us = self.key_file is not None or self.keys or self.basic or self.login
        return by_us or self.oidc.issuer is not None

    def key(self) -> SecretStr | None:
        """Return the bearer key, None where none is set.

        Raises:
            SettingsError: the file cannot be read, or holds no good key.
        """
        if self.key_file is None:
            return None
        key = read_secret(f"{PREFIX}AUTH{BETWEEN}KEY_FILE", self.key_file)
        if len(key) < SHORTEST_KEY or not key.isascii() or any(letter.isspace() for letter in key):
            raise SettingsError(
                f"{PREFIX}AUTH{BETWEEN}KEY_FILE: {self.key_file} should hold one key of at least "
                f"{SHORTEST_KEY} plain characters, such as `openssl rand -hex 32` prints."
            )
        return SecretStr(key)


class Jobs(Group):
    """Work that runs beside requests."""

    codec_workers: int = Field(default=2, ge=1, le=256)
    codec_memory: ByteSize = Field(default=ByteSize(2 * 2**30), ge=64 * 2**20)
    codec_seconds: Seconds = 60
    thumbnails: bool = True
    scrub_days: float = Field(default=30, ge=0, le=3_650)
    scrub_rate: ByteSize = Field(default=ByteSize(20 * 2**20), ge=2**10)
    inside_serve: bool = True
    commitment_seconds: float = Field(default=5, ge=0, le=60)


class Retention(Group):
    """How long what is deleted can be brought back."""

    deleted_days: float = Field(default=30, ge=0, le=36_500)
    purge: bool = True
    rules: bool = True
    commitment_days: float = Field(default=30, gt=0, le=3_650)


def _syslog_address(value: str) -> str:
    parts = _parts_of(value)
    if parts is None or parts.scheme != "tls" or parts.path.strip("/"):
        raise ValueError("should be as tls://collector.example.org:6514")
    return value.rstrip("/")


class Audit(Group):
    """What becomes of reads, which the log tells of as it does of writes, and who is told."""

    required: bool = False
    syslog: Annotated[str, AfterValidator(_syslog_address)] | None = None
    fhir_url: WebAddress | None = None
    fhir_token: SecretStr | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _keeps_the_token(self) -> Self:
        if self.fhir_token is not None and _in_plain(self.fhir_url or ""):
            raise ValueError("FHIR_URL begins with https:// where FHIR_TOKEN is sent to it")
        return self


class Log(Group):
    """What is written about requests; never what patients are called."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    access: bool = False
