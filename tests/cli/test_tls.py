"""`fileroom serve` with a certificate of its own."""

import datetime
import ipaddress
import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from app.cli.refusal import Refusal
from app.cli.tls import server_context
from app.setting_groups import Http
from tests.factories import make_dataset, make_part10
from tests.live_server import FILEROOM, clean_environment, serve


def make_pair(
    directory: Path, name: str = "tls", encryption: KeySerializationEncryption | None = None
) -> Http:
    """Write a certificate for 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fileroom")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = Http(tls_cert=directory / f"{name}.pem", tls_key=directory / f"{name}.key")
    assert paths.tls_cert is not None
    assert paths.tls_key is not None
    paths.tls_cert.write_bytes(certificate.public_bytes(Encoding.PEM))
    how = encryption or NoEncryption()
    paths.tls_key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))
    return paths


def test_connections_are_of_tls_1_2_at_least(tmp_path: Path) -> None:
    context = server_context(make_pair(tmp_path))
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    weak = ("RC4", "DES", "MD5", "NULL", "EXPORT", "anon", "CBC3")
    names = [str(cipher["name"]) for cipher in context.get_ciphers()]
    assert names
    assert [name for name in names if any(word in name for word in weak)] == []
    assert server_context(Http()) is None


def test_a_pair_that_cannot_be_used_is_refused_in_words(tmp_path: Path) -> None:
    one, two = make_pair(tmp_path), make_pair(tmp_path, "two")
    (tmp_path / "broken").write_text("no certificate")
    secret = make_pair(tmp_path, "secret", BestAvailableEncryption(b"geheim"))
    for cert, key, why in (
        (one.tls_cert, two.tls_key, "the key is that of another certificate"),
        (tmp_path / "broken", one.tls_key, "not PEM, or are broken"),
        (one.tls_cert, tmp_path / "broken", "not PEM, or are broken"),
        (tmp_path / "nowhere", one.tls_key, "nowhere cannot be read: No such file"),
        (one.tls_cert, tmp_path, "cannot be read: Is a directory"),
        (secret.tls_cert, secret.tls_key, "is encrypted"),
    ):
        with pytest.raises(Refusal, match=why):
            server_context(Http(tls_cert=cert, tls_key=key))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--tls-cert", "nowhere"), "are set together, or neither"),
        (("--tls-cert", "nowhere", "--tls-key", "nowhere"), "nowhere cannot be read"),
    ],
)
def test_serve_ends_with_a_sentence_before_it_starts_anything(
    tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    done = subprocess.run(
        [FILEROOM, "serve", "--port", "0", *flags],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_archive_is_served_over_tls_whole_and_nothing_in_plain(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    flags = ("--tls-cert", str(pair.tls_cert), "--tls-key", str(pair.tls_key))
    trusted = ssl.create_default_context(cafile=pair.tls_cert)
    dataset = make_dataset(Rows=512, Columns=512)  # the kernel would send such a frame by itself
    with serve(tmp_path, *flags, trusted=trusted) as server:
        with httpx.Client(verify=trusted, base_url=server.dicomweb) as client:
            headers = {"Content-Type": "application/dicom"}
            stored = client.post("/studies", content=make_part10(dataset), headers=headers)
            assert stored.status_code == 200
            url = stored.json()["00081190"]["Value"][0]
            assert url == f"{server.dicomweb}/studies/{dataset.StudyInstanceUID}"
            path = (
                f"/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
                f"/instances/{dataset.SOPInstanceUID}/frames/1"
            )
            for _ in range(3):  # what was read as a whole once may be sent as a range of its file
                frame = client.get(path, headers={"Accept": "application/octet-stream"})
                assert frame.content == dataset.PixelData
            assert frame.headers["strict-transport-security"] == "max-age=31536000"
        curl = ["curl", "-sS", "--fail", "--cacert", str(pair.tls_cert)]
        got = subprocess.run(
            [*curl, f"{server.dicomweb}/studies"], capture_output=True, text=True, check=True
        )
        assert dataset.StudyInstanceUID in got.stdout
        _is_refused_in_plain(server.url)
        assert b"HTTP/1.1 400" in _send_no_http(server.url, trusted)
    log = server.log.read_text()
    assert "https://127.0.0.1" in log
    assert "Traceback" not in log


def _is_refused_in_plain(url: str) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(url.replace("https:", "http:"))


def _send_no_http(url: str, trusted: ssl.SSLContext) -> bytes:
    address = httpx.URL(url)
    with (
        socket.create_connection((address.host, address.port or 0), 10) as plain,
        trusted.wrap_socket(plain, server_hostname=address.host) as connection,
    ):
        connection.sendall(b"this is no HTTP\r\n\r\n")
        answer = b""
        while data := connection.recv(4096):
            answer += data
        return answer
