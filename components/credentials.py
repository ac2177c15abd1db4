"""Passwords and certificates that follow from one secret seed.

Same seed, same purpose, same date: the same bytes, on any machine. So no `pulumi up`
makes a new credential by itself, and none of them needs a place to be kept.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

import pulumi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SEED_LENGTH = 43
"""Characters of 32 random bytes in URL-safe base64 without padding."""
AUTHORITY_DAYS = 5 * 365
CERTIFICATE_DAYS = 2 * 365

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Order of the group of the curve P-256."""


class Certificate(NamedTuple):
    """A server's or client's certificate, its key, and who signed it; all PEM."""

    authority: str
    certificate: str
    key: str


def password(seed: str, purpose: str) -> str:
    """32 characters out of letters, digits, `-` and `_`."""
    return base64.urlsafe_b64encode(_derive(seed, purpose, 24)).decode()


def fingerprint(*secrets: str) -> str:
    """Ten hexadecimal digits that change when one of the random `secrets` does."""
    return hashlib.sha256("\0".join(secrets).encode()).hexdigest()[:10]


def authority(seed: str, name: str, issued: date) -> str:
    """The certificate (PEM) of the certificate authority `name`."""
    return _pem(_authority(seed, name, issued))


def certificate(
    seed: str, signer: str, hosts: Sequence[str], issued: date
) -> Certificate:
    """A certificate for `hosts`, for both ends of a connection, signed by `signer`.

    It is valid from the day before `issued`, for two years.
    """
    key = _key(seed, f"{signer}/{hosts[0]}/{issued}")
    root_key = _key(seed, f"{signer}/{issued}")
    root = _authority(seed, signer, issued)
    signed = (
        _builder(hosts[0], key, issued, CERTIFICATE_DAYS)
        .issuer_name(root.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()),
            critical=False,
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]),
            critical=False,
        )
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .sign(root_key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Certificate(_pem(root), _pem(signed), private.decode())


def _authority(seed: str, name: str, issued: date) -> x509.Certificate:
    key = _key(seed, f"{name}/{issued}")
    builder = _builder(name, key, issued, AUTHORITY_DAYS)
    return (
        builder.issuer_name(_subject(name))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )


def _builder(
    name: str, key: ec.EllipticCurvePrivateKey, issued: date, days: int
) -> x509.CertificateBuilder:
    # A day early: the cluster's clock, or its time zone, may be behind.
    start = datetime.combine(issued, time(), UTC) - timedelta(days=1)
    public = key.public_key()
    encoded = public.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    serial = int.from_bytes(hashlib.sha256(encoded).digest()[:16], "big") >> 1
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(public), critical=False
        )
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key(seed: str, purpose: str) -> ec.EllipticCurvePrivateKey:
    # 16 bytes more than the order has: the remainder is then even to 2**-128.
    number = int.from_bytes(_derive(seed, f"key/{purpose}", 48), "big")
    return ec.derive_private_key(number % (_ORDER - 1) + 1, ec.SECP256R1())


def _derive(seed: str, purpose: str, length: int) -> bytes:
    if len(seed) < SEED_LENGTH:
        raise pulumi.RunError(
            f"labfactory:seed: is too short to derive credentials from (it has "
            f"{len(seed)} characters, it needs {SEED_LENGTH}); set it with "
            f"`openssl rand -base64 32 | pulumi config set --secret seed`"
        )
    info = f"labfactory/{purpose}".encode()
    return HKDF(hashes.SHA256(), length, salt=None, info=info).derive(seed.encode())


def _pem(found: x509.Certificate) -> str:
    return found.public_bytes(serialization.Encoding.PEM).decode()
