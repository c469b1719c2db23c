"""The certificate of `serve`: TLS 1.2 and later, with Python's choice of ciphers (BCP 195)."""

import ssl
from pathlib import Path

from app.cli.refusal import Refusal
from app.setting_groups import Http

_REASONS = {
    "KEY_VALUES_MISMATCH": "the key is that of another certificate",
    "EE_KEY_TOO_SMALL": "its key is too short; 2048 bits of RSA are the least",
    "CA_MD_TOO_WEAK": "it is signed with a digest that is not safe",
}


def server_context(http: Http) -> ssl.SSLContext | None:
    """Return what TLS connections are made with, None where no certificate is set.

    Raises:
        Refusal: certificate or key cannot be read, or do not belong together.
    """
    if http.tls_cert is None or http.tls_key is None:
        return None
    for path in (http.tls_cert, http.tls_key):
        _check_readable(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(http.tls_cert, http.tls_key, _no_passphrase)
    except ssl.SSLError as error:
        why = _REASONS.get(error.reason or "", "they are not PEM, or are broken")
        raise Refusal(
            f"The certificate {http.tls_cert} cannot be used with the key {http.tls_key}: {why}."
        ) from None
    return context


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}.") from None


def _no_passphrase() -> str:
    raise Refusal(
        "The key of the certificate is encrypted, and nobody is there to give the passphrase: "
        "decrypt it (`openssl pkey -in KEY -out PLAIN`), and keep it readable for this user alone."
    )
