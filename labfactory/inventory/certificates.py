"""Certificates of a lab, and when they end. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any

from labfactory.inventory.things import Row
from stacks.schema import LabConfig

COLUMNS = ("subject", "where", "ends", "days left", "issuer")
CREDENTIAL_DAYS = 2 * 365 - 1
"""How long the lab's own certificates are valid, from `credentials_issued`."""
TLS = "kubernetes.io/tls"


def certificates(secrets: Iterable[Mapping[str, Any]], now: datetime) -> list[Row]:
    """A row for each certificate in Secrets of the kind `kubernetes.io/tls`; what ends
    first comes first."""
    rows: list[Row] = []
    for each in secrets:
        if each.get("type") == TLS:
            where = f"{each['metadata'].get('namespace')}/{each['metadata']['name']}"
            rows += _in_secret(each.get("data") or {}, where, now)
    return sorted(rows, key=lambda row: (str(row[2] or ""), str(row[1]), str(row[0])))


def credentials(settings: LabConfig, now: datetime) -> Row:
    """When the certificates end that follow from the lab's seed and settings."""
    day = datetime.combine(settings.credentials_issued, time(), UTC)
    ends = day + timedelta(days=CREDENTIAL_DAYS)
    what = f"credentials of the lab {settings.name}"
    return what, "credentials_issued", *_end(ends, now), "seed"


def _in_secret(
    data: Mapping[str, str], where: str, now: datetime
) -> Iterator[tuple[Any, ...]]:
    from cryptography import x509

    for key in ("tls.crt", "ca.crt"):
        if not data.get(key):
            continue
        at = f"{where} ({key})"
        try:
            chain = x509.load_pem_x509_certificates(base64.b64decode(data[key]))
        except ValueError:
            yield "cannot be read: not PEM", at, None, None, None
            continue
        for each in chain:
            ends = _end(each.not_valid_after_utc, now)
            yield _subject(each), at, *ends, each.issuer.rfc4514_string()


def _subject(certificate: Any) -> str:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        names = []
    subject: str = certificate.subject.rfc4514_string()
    others = ", ".join(name for name in names if f"CN={name}" != subject)
    return " ".join(filter(None, (subject, f"({others})" if others else "")))


def _end(ends: datetime, now: datetime) -> tuple[str, int]:
    return ends.date().isoformat(), (ends - now).days
