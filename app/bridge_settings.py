"""The group of settings of the bridges, which know their peers."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, model_validator
from pydantic_settings import NoDecode

from app.dimse.peers import Peer, check_ae_title, read_peers
from app.setting_groups import Group, Seconds, WebAddress

Peers = Annotated[tuple[Peer, ...], NoDecode, BeforeValidator(read_peers)]


class Dimse(Group):
    """The bridge for DICOM's own network protocol: where it listens, and to whom."""

    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65_535)
    ae_title: Annotated[str, AfterValidator(check_ae_title)] = "FILEROOM"
    peers: Peers = ()
    open: bool = False
    archive_url: WebAddress | None = None
    archive_ca: Path | None = None
    key_file: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_peers: Path | None = None
    processes: int = Field(default=1, ge=1, le=64)
    associations: int = Field(default=100, ge=1, le=10_000)
    associations_per_peer: int = Field(default=20, ge=1, le=10_000)
    pdu_bytes: ByteSize = Field(default=ByteSize(2**18), ge=4_096, le=2**24)
    idle_seconds: Seconds = 60
    patience_seconds: Seconds = 10
    utf8: bool = False
    spool: Path | None = None
    spool_bytes: ByteSize = Field(default=ByteSize(100 * 2**30), ge=2**20)
    forwardings: int = Field(default=2, ge=0, le=64)
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)

    @model_validator(mode="after")
    def _certificate_has_a_key(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        if self.tls_peers is not None and self.tls_key is None:
            raise ValueError("tls_peers needs tls_certificate and tls_key, too")
        return self

    @model_validator(mode="after")
    def _spool_is_of_one(self) -> Self:
        if self.spool is not None and self.processes > 1:
            raise ValueError("a spool is one process's: set spool or processes, not both")
        return self
