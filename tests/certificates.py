"""Certificates that nobody but the tests trusts."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class Certificate:
    """Where a self-signed certificate for this machine lies, with its key, and the key under a password."""

    cert: Path
    key: Path
    locked_key: Path


def make_certificate(directory: Path) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(directory / "cert.pem", directory / "key.pem", directory / "locked-key.pem")
    pem = serialization.Encoding.PEM
    made.cert.write_bytes(certificate.public_bytes(pem))
    form = serialization.PrivateFormat.PKCS8
    made.key.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    made.locked_key.write_bytes(key.private_bytes(pem, form, serialization.BestAvailableEncryption(b"a password")))
    return made
