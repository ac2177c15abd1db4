"""Rules of secrets. No complaint ever quotes a value: it names the key."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .lab import Lab, Resource
from .rule import Complaint, Rule
from .workloads import all_containers, tree, trees

DEFAULTS = frozenset(
    [
        "admin",
        "administrator",
        "changeit",
        "changeme",
        "default",
        "guest",
        "letmein",
        "minio",
        "minio123",
        "minioadmin",
        "mlflow",
        "pass",
        "passw0rd",
        "password",
        "postgres",
        "root",
        "secret",
        "test",
        "toor",
    ]
)
"""Secrets that everybody knows."""
_SECRET = re.compile(
    r"(?:^|[_.-])(?:pass|passwd|password|passphrase|pwd|secret|token"
    r"|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key)(?:$|[_.-])",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(
    r"(?:[_.-](?:file|path|dir|name|ref|url|uri|enabled|ttl|seconds|class|version))$",
    re.IGNORECASE,
)
"""Names of settings that say where a secret is, not what it is."""
TOKENS = {
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[0-9A-Za-z]{36}|github_pat_\w{60,})"),
    "a GitLab token": re.compile(r"\bglpat-[0-9A-Za-z_-]{20}"),
    "a Slack token": re.compile(r"\bxox[abeoprs]-[0-9A-Za-z-]{10,}"),
    "a Stripe key": re.compile(r"\b[rs]k_live_[0-9A-Za-z]{16,}"),
    "a JSON web token": re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"),
    "a password in an address": re.compile(
        r"\b[a-z][a-z0-9+.-]*://[^\s/:@{}$]*:[^\s/:@{}$]+@"
    ),
}
"""What secrets look like wherever they are."""


def no_default_credentials(lab: Lab) -> Iterator[Complaint]:
    """No secret is one that everybody knows."""
    for found in lab.all("Secret"):
        for key, value in _entries(found):
            if _is_secret(key) and value.lower() in DEFAULTS:
                yield Complaint(found.name, f"{key} is one that everybody knows")
    for owner, name, value in _variables(lab):
        if _is_secret(name) and value.lower() in DEFAULTS:
            text = f"variable {name} is one that everybody knows"
            yield Complaint(owner.name, text)


def no_plain_secrets(lab: Lab) -> Iterator[Complaint]:
    """What is called a secret is in a Secret."""
    for owner, name, value in _variables(lab):
        if _is_secret(name) and value:
            yield Complaint(owner.name, f"variable {name} holds a secret in plain text")
    for found in lab.all("ConfigMap"):
        for key, value in tree(found.props.get("data")).items():
            if _is_secret(str(key)) and value:
                yield Complaint(found.name, f"{key} holds a secret in plain text")


def no_tokens(lab: Lab) -> Iterator[Complaint]:
    """What looks like a secret is in a Secret, whatever it is called."""
    for found in lab.resources:
        if found.kind == "Secret" or found.type.startswith("pulumi:"):
            continue
        for path, value in _texts(found.props, ""):
            for what, pattern in TOKENS.items():
                if pattern.search(value):
                    yield Complaint(found.name, f"{path} holds {what}")


def _is_secret(name: str) -> bool:
    return bool(_SECRET.search(name)) and not _ELSEWHERE.search(name)


def _entries(secret: Resource) -> Iterator[tuple[str, str]]:
    """Keys and texts of a Secret."""
    for key, value in tree(secret.props.get("stringData")).items():
        yield str(key), str(value)
    for key, value in tree(secret.props.get("data")).items():
        try:
            yield str(key), base64.b64decode(str(value), validate=True).decode()
        except (binascii.Error, ValueError):
            continue  # no text, and so nothing that somebody typed


def _variables(lab: Lab) -> Iterator[tuple[Resource, str, str]]:
    """Owner, name and literal value of each container's variables."""
    for container in all_containers(lab):
        for each in trees(container.fields.get("env")):
            yield (
                container.pods.owner,
                str(each.get("name", "?")),
                str(each.get("value") or ""),
            )


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Path and text of everything in a tree."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each, path)


RULES: tuple[Rule, ...] = (
    Rule(
        "no-default-credentials",
        "mandatory",
        "No password is one that everybody knows.",
        "It is the first thing that anybody tries.",
        "derive it from the lab's seed, or set it with `pulumi config set --secret`",
        no_default_credentials,
    ),
    Rule(
        "no-plain-secrets",
        "mandatory",
        "What is called a secret stands in a Secret.",
        "Variables and ConfigMaps are read by everybody who may look at the lab.",
        "put it into a Secret, and refer to it by secretKeyRef",
        no_plain_secrets,
    ),
    Rule(
        "no-tokens",
        "mandatory",
        "Nothing but a Secret holds what looks like a key or a token.",
        "A secret in the wrong place is found by whoever looks for its pattern.",
        "withdraw it where it was issued, and put the new one into a Secret",
        no_tokens,
    ),
)
