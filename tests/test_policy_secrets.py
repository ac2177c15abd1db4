"""Rules of secrets; nothing here is one."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from policies.rules import RULES
from policies.rules.lab import Lab, Resource
from tests.policy_cases import Case, case, deployed, good, holds, lab, thing

AWS = "AKIA" + "A" * 16
JWT = ".".join(("eyJ" + "a" * 10, "eyJ" + "b" * 10, "c" * 10))
KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\nAAAA"
PLANTED = "y0u-shall-n0t-print-th1s"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(**entries: str) -> Lab:
    return lab(thing("Secret", stringData=entries))


def packed(**entries: str) -> Lab:
    return lab(thing("Secret", data=entries))


def variable(name: str, **value: Any) -> Lab:
    return deployed(
        good(env=[{"name": "HOME", "value": "/tmp"}, {"name": name, **value}])
    )


def configured(**entries: str) -> Lab:
    return lab(thing("ConfigMap", data=entries))


CASES = [
    case("no-default-credentials", "passes", secret(password="b2xk-ZW5vdWdo")),
    case(
        "no-default-credentials",
        "fails",
        secret(password="Minioadmin"),
        "it: password is one that everybody knows",
    ),
    case(
        "no-default-credentials",
        "boundary: not what a secret is called",
        secret(username="postgres", region="default"),
    ),
    case(
        "no-default-credentials",
        "boundary: packed",
        packed(**{"root-password": encoded("admin"), "token": encoded("a1b2")}),
        "it: root-password is one that everybody knows",
    ),
    case(
        "no-default-credentials",
        "boundary: no text",
        packed(password="///", token="/w=="),
    ),
    case(
        "no-default-credentials",
        "boundary: a variable",
        variable("POSTGRES_PASSWORD", value="postgres"),
        "it: variable POSTGRES_PASSWORD is one that everybody knows",
    ),
    case(
        "no-default-credentials",
        "boundary: a variable that is none",
        variable("POSTGRES_USER", value="postgres"),
    ),
    case(
        "no-plain-secrets",
        "passes",
        variable("API_TOKEN", valueFrom={"secretKeyRef": {"name": "a", "key": "b"}}),
    ),
    case(
        "no-plain-secrets",
        "fails",
        variable("API_TOKEN", value=PLANTED),
        "it: variable API_TOKEN holds a secret in plain text",
    ),
    case(
        "no-plain-secrets",
        "boundary: where it is, not what",
        variable("API_TOKEN_FILE", value="/run/secrets/token"),
    ),
    case("no-plain-secrets", "boundary: an empty one", variable("PASSWORD", value="")),
    case(
        "no-plain-secrets", "boundary: part of a word", variable("TOKENIZER", value="a")
    ),
    case(
        "no-plain-secrets",
        "boundary: a ConfigMap",
        configured(**{"s3.secret-key": PLANTED, "secret": "", "a": PLANTED}),
        "it: s3.secret-key holds a secret in plain text",
    ),
    case("no-tokens", "passes", configured(a="s3://mlflow/1", b="https://a.example")),
    case(
        "no-tokens",
        "fails",
        configured(a=f"key={AWS}"),
        "it: data.a holds an AWS access key",
    ),
    case("no-tokens", "boundary: one sign less", configured(a=AWS[:-1])),
    case("no-tokens", "boundary: in a Secret", secret(a=AWS)),
    case(
        "no-tokens",
        "boundary: in the settings of a provider",
        lab(Resource("pulumi:providers:aws", "aws", {"accessKey": AWS})),
    ),
    case(
        "no-tokens",
        "boundary: in a list",
        deployed(good(args=["--token", JWT])),
        "it: spec.template.spec.containers.args holds a JSON web token",
    ),
    case(
        "no-tokens",
        "boundary: every kind",
        configured(
            a=KEY,
            b="ghp_" + "a" * 36,
            c="glpat-" + "a" * 20,
            d="xoxb-" + "1" * 12,
            e="sk_live_" + "a" * 16,
            f="postgresql://lab:geheim@postgres/mlflow",
        ),
        "it: data.a holds a private key",
        "it: data.b holds a GitHub token",
        "it: data.c holds a GitLab token",
        "it: data.d holds a Slack token",
        "it: data.e holds a Stripe key",
        "it: data.f holds a password in an address",
    ),
    case(
        "no-tokens",
        "boundary: a password that is filled in later",
        configured(a="postgresql://lab:${PASSWORD}@postgres", b="http://a:80/@b"),
    ),
]


@pytest.mark.parametrize("each", CASES)
def test_the_rule_says_so(each: Case) -> None:
    holds(each)


def test_no_complaint_of_any_rule_quotes_a_value_that_could_be_a_secret() -> None:
    planted = lab(
        thing("Secret", stringData={"password": PLANTED}),
        thing("ConfigMap", data={"token": PLANTED, "address": f"http://a:{PLANTED}@b"}),
        *variable("PASSWORD", value=PLANTED).resources,
        settings={"storage": {"endpoint": f"http://a:{PLANTED}@s3.example.com"}},
    )

    told = [each for rule in RULES.values() for each in rule.check(planted)]

    assert len(told) > 5
    assert PLANTED not in str(told)
