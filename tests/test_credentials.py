from datetime import date

import pulumi
import pytest
from cryptography import x509

from components.credentials import authority, certificate, fingerprint, password
from tests.harness import SEED

ISSUED = date(2026, 11, 21)
HOSTS = ("kserve-webhook-server-service.kserve.svc", "other.example")
OTHER_SEED = SEED[::-1]


def test_the_same_seed_gives_the_same_credentials_on_any_machine() -> None:
    assert certificate(SEED, "webhook", HOSTS, ISSUED) == certificate(
        SEED, "webhook", HOSTS, ISSUED
    )
    # Written down: another library version must not change what labs run with.
    assert password(SEED, "postgres") == "0Taq3RbY-X6SWURlESAOnej_A2QKG8NY"
    assert fingerprint(certificate(SEED, "webhook", HOSTS, ISSUED).key) == "9d747d0bb9"
    assert fingerprint(certificate(SEED, "webhook", HOSTS, ISSUED).certificate) == (
        "c392dd5994"
    )


def test_every_purpose_has_a_password_of_its_own() -> None:
    purposes = ("postgres", "storage/root", "storage/tracking", "storage/serving")

    assert len({password(SEED, purpose) for purpose in purposes}) == len(purposes)
    assert password(SEED, "postgres") != password(OTHER_SEED, "postgres")


def test_another_day_gives_other_certificates_and_other_keys() -> None:
    old = certificate(SEED, "webhook", HOSTS, ISSUED)
    new = certificate(SEED, "webhook", HOSTS, date(2028, 2, 29))

    assert not {*old} & {*new}


def test_a_client_that_trusts_the_authority_trusts_the_server() -> None:
    found = certificate(SEED, "webhook", HOSTS, ISSUED)
    leaf = x509.load_pem_x509_certificate(found.certificate.encode())
    root = x509.load_pem_x509_certificate(found.authority.encode())

    assert found.authority == authority(SEED, "webhook", ISSUED)
    leaf.verify_directly_issued_by(root)
    for host in HOSTS:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert host in names.value.get_values_for_type(x509.DNSName)


def test_a_certificate_of_one_authority_is_worth_nothing_to_another() -> None:
    found = certificate(SEED, "webhook", HOSTS, ISSUED)
    leaf = x509.load_pem_x509_certificate(found.certificate.encode())
    other = x509.load_pem_x509_certificate(authority(SEED, "xds", ISSUED).encode())

    with pytest.raises(ValueError, match=r"(?i)issuer"):
        leaf.verify_directly_issued_by(other)


def test_a_certificate_counts_from_its_first_minute_in_every_time_zone() -> None:
    found = certificate(SEED, "webhook", HOSTS, ISSUED)
    leaf = x509.load_pem_x509_certificate(found.certificate.encode())
    root = x509.load_pem_x509_certificate(found.authority.encode())

    assert leaf.not_valid_before_utc.date() == date(2026, 11, 20)
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days == 2 * 365
    assert (root.not_valid_after_utc - root.not_valid_before_utc).days == 5 * 365


def test_a_seed_that_can_be_guessed_is_refused_without_being_shown() -> None:
    with pytest.raises(pulumi.RunError, match="too short") as refusal:
        password("hunter2", "postgres")

    assert "hunter2" not in str(refusal.value)
