"""The cluster's own certificate authorities and what they sign."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from labfactory.embedded.addresses import Addresses

CA_DAYS = 3650
LEAF_DAYS = 365
RENEW_DAYS = 90
"""A certificate with fewer days left than this is made anew."""

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True)
class Leaf:
    """One certificate: file name, who it is for, which CA signs it."""

    file: str
    user: str
    group: str | None = None
    usage: tuple[x509.ObjectIdentifier, ...] = (CLIENT,)
    names: tuple[str, ...] = ()
    addresses: tuple[IPv4Address, ...] = ()
    authority: str = "ca"


def leaves(node: str, addresses: Addresses) -> list[Leaf]:
    """Every certificate that the node named `node` needs."""
    local = IPv4Address("127.0.0.1")
    api_names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    return [
        Leaf(
            "apiserver",
            "kube-apiserver",
            usage=(SERVER,),
            names=(*api_names, "kubernetes.default.svc.cluster.local", "localhost"),
            addresses=(local, addresses.node, addresses.services[1]),
        ),
        Leaf("admin", "labfactory", "system:masters"),
        Leaf("apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters"),
        Leaf("controller-manager", "system:kube-controller-manager"),
        Leaf("scheduler", "system:kube-scheduler"),
        Leaf("proxy", "system:kube-proxy"),
        Leaf(
            "kubelet",
            f"system:node:{node}",
            "system:nodes",
            usage=(SERVER, CLIENT),
            names=(node,),
            addresses=(addresses.node,),
        ),
        # An authority of its own: the kubelet's certificate must not open the store.
        Leaf(
            "etcd",
            "etcd",
            usage=(SERVER, CLIENT),
            names=("localhost",),
            addresses=(local,),
            authority="etcd-ca",
        ),
        Leaf("apiserver-etcd", "kube-apiserver", authority="etcd-ca"),
    ]


def ensure(
    folder: Path, wanted: Sequence[Leaf], *, now: datetime | None = None
) -> bool:
    """Make what is missing, expires soon or no longer fits; say if anything was made.

    `folder` gets `NAME.crt` and `NAME.key` per certificate, `sa.key` and `sa.pub`.
    """
    now = now or datetime.now(UTC)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = False
    for name in sorted({leaf.authority for leaf in wanted}):
        authority = _read(folder / f"{name}.crt")
        # An authority must outlive everything it signs.
        if authority is None or _days_left(authority, now) < LEAF_DAYS:
            _write(folder, name, *_authority(f"labfactory-{name}", now))
            made = True
    for leaf in wanted:
        authority = _read(folder / f"{leaf.authority}.crt")
        assert authority is not None
        if not _fits(_read(folder / f"{leaf.file}.crt"), leaf, authority, now):
            key = _key(folder / f"{leaf.authority}.key")
            _write(folder, leaf.file, *_leaf(leaf, authority, key, now))
            made = True
    if not (folder / "sa.pub").exists():
        tokens = ec.generate_private_key(ec.SECP256R1())
        _write_file(folder / "sa.key", _private(tokens))
        _write_file(
            folder / "sa.pub",
            tokens.public_key().public_bytes(
                serialization.Encoding.PEM,
                serialization.PublicFormat.SubjectPublicKeyInfo,
            ),
        )
        made = True
    return made


def _fits(
    certificate: x509.Certificate | None,
    leaf: Leaf,
    authority: x509.Certificate,
    now: datetime,
) -> bool:
    if certificate is None or _days_left(certificate, now) < RENEW_DAYS:
        return False
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    names = _alternative_names(leaf)
    try:
        found = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        return names is None and certificate.subject == _subject(leaf)
    return found == names and certificate.subject == _subject(leaf)


def _authority(
    name: str, now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(subject, subject, key, CA_DAYS, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _leaf(
    leaf: Leaf,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer_id = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    builder = (
        _builder(_subject(leaf), authority.subject, key, LEAF_DAYS, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(leaf.usage), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                issuer_id.value
            ),
            critical=False,
        )
    )
    names = _alternative_names(leaf)
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(authority_key, hashes.SHA256()), key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    days: int,
    now: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks get corrected
        .not_valid_after(now + timedelta(days=days))
    )


def _subject(leaf: Leaf) -> x509.Name:
    groups = [leaf.group] if leaf.group else []
    return x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups),
            x509.NameAttribute(NameOID.COMMON_NAME, leaf.user),
        ]
    )


def _alternative_names(leaf: Leaf) -> x509.SubjectAlternativeName | None:
    names = [x509.DNSName(name) for name in leaf.names]
    addresses = [x509.IPAddress(address) for address in leaf.addresses]
    return x509.SubjectAlternativeName([*names, *addresses]) if names else None


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _days_left(certificate: x509.Certificate, now: datetime) -> float:
    return (certificate.not_valid_after_utc - now) / timedelta(days=1)


def _read(path: Path) -> x509.Certificate | None:
    """The certificate in `path`; None when it or its key is missing or broken.

    A run that was killed between writing the two leaves a pair that does not match.
    """
    try:
        key = _key(path.with_suffix(".key"))
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None
    return certificate if certificate.public_key() == key.public_key() else None


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(
    folder: Path,
    name: str,
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
) -> None:
    _write_file(folder / f"{name}.key", _private(key))
    encoded = certificate.public_bytes(serialization.Encoding.PEM)
    _write_file(folder / f"{name}.crt", encoded)


def _write_file(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    with os.fdopen(
        os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"
    ) as f:
        f.write(content)
    new.replace(path)
