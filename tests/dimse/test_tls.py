"""TLS as BCP 195 asks for it (PS3.15 Annex B), with and without certificates of the peers."""

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.dimse.server import Tls
from tests.bridges import bridge_to, called, dcmtk
from tests.live_server import LiveServer


def _certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = directory / f"{name}.crt", directory / f"{name}.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, secret


@pytest.fixture
def server(tmp_path: Path) -> tuple[Path, Path]:
    """The bridge's certificate and key."""
    return _certificate(tmp_path, "bridge")


def test_a_peer_may_stay_nameless_where_no_certificate_is_asked_for(
    archive: LiveServer, server: tuple[Path, Path]
) -> None:
    with bridge_to(archive, tls=Tls(*server)) as bridge:
        dcmtk("echoscu", "+tla", "+cf", server[0], *called(bridge))
        assert dcmtk("echoscu", *called(bridge), good=False).returncode != 0


def test_a_peer_has_to_show_a_certificate_that_is_known(
    archive: LiveServer, server: tuple[Path, Path], tmp_path: Path
) -> None:
    known, stranger = _certificate(tmp_path, "known"), _certificate(tmp_path, "stranger")
    with bridge_to(archive, tls=Tls(*server, peers_ca=known[0])) as bridge:
        shown = ("echoscu", "+cf", server[0], "+tls")
        dcmtk(*shown, known[1], known[0], *called(bridge))
        wrong = dcmtk(*shown, stranger[1], stranger[0], *called(bridge), good=False)
        none = dcmtk("echoscu", "+tla", "+cf", server[0], *called(bridge), good=False)
    assert wrong.returncode != 0
    assert none.returncode != 0


def test_tls_of_before_1_2_is_refused(archive: LiveServer, server: tuple[Path, Path]) -> None:
    context = Tls(*server).server_context()
    assert context.minimum_version.name == "TLSv1_2"
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert not [name for name in names if "CBC" in name or "RC4" in name or "SHA1" in name]
