"""Which secrets a stack file may hold, and what is wrong with those that it has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from stacks.raw import Problem, mapping, near_miss
from stacks.schema import ALERTS, EXTERNAL_KEY, PROJECT, SECRETS
from stacks.variant_rules import externals
from stacks.watch_rules import needs_secret, receivers

NAME = r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?"
"""What follows `external-` and `alerts-`: stacks.values.Name as a pattern."""
_EXTERNAL = f"{PROJECT}:{EXTERNAL_KEY}"
_ALERTS = f"{PROJECT}:{ALERTS}"
_WHOSE = {
    _EXTERNAL: "the key of an external endpoint",
    _ALERTS: "the secret of a receiver of alerts",
}
_KNOWN = tuple(f"{PROJECT}:{name}" for name in SECRETS)


def is_one(key: str) -> bool:
    """Whether a key of `config` is the name of a secret."""
    named = any(re.fullmatch(prefix + NAME, key) for prefix in _WHOSE)
    return key in _KNOWN or named


def problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the keys of `config`, and which secrets it lacks."""
    wanted = _wanted(config)
    lacking = {secret: path for secret, path in wanted.items() if secret not in config}
    for key, value in config.items():
        if is_one(str(key)):
            if not (isinstance(value, Mapping) and "secure" in value):
                yield (
                    ("config", key),
                    "is in plain text; replace the secret, which others may have read, "
                    f"by `pulumi config set --secret {key}`",
                )
        elif key != f"{PROJECT}:lab" and _looks_like_ours(str(key)):
            yield ("config", key), _unknown(str(key), [*lacking, *wanted])
    for secret, path in lacking.items():
        how = "needs" if secret in _KNOWN else "names"
        yield (
            path,
            f"{how} a secret that the stack does not have; set it with "
            f"`pulumi config set --secret {secret}`",
        )


def _wanted(config: Mapping[str, Any]) -> dict[str, tuple[str | int, ...]]:
    """The secrets that settings name, and where the first one does."""
    key = f"{PROJECT}:lab"
    lab = config.get(key)
    if not isinstance(lab, Mapping):
        return {}
    found: dict[str, tuple[str | int, ...]] = {}
    for path, external in externals(lab):
        name = external.get("key")
        if isinstance(name, str) and re.fullmatch(NAME, name):
            found.setdefault(f"{_EXTERNAL}{name}", ("config", key, *path, "key"))
    for path, receiver in receivers(lab):
        if needs_secret(receiver) and re.fullmatch(NAME, str(path[-1])):
            found[f"{_ALERTS}{path[-1]}"] = ("config", key, *path)
    for path, consumer in _copying(lab):
        for part in ("key-id", "secret"):
            found[f"{PROJECT}:{consumer}-{part}"] = ("config", key, *path)
    return found


def _copying(lab: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Who of the backups needs keys of somebody else's store, and by which setting."""
    backups = mapping(lab.get("backups"))
    if backups and mapping(lab.get("storage")).get("kind") == "s3":
        yield ("backups",), "s3-backup"
        yield ("backups",), "s3-restore"
    if mapping(backups.get("store")).get("kind") == "s3":
        yield ("backups", "store"), "backup-store"


def _looks_like_ours(key: str) -> bool:
    prefix, colon, _ = key.partition(":")
    return prefix == PROJECT or not colon or bool(near_miss(prefix, (PROJECT,)))


def _unknown(key: str, wanted: list[str]) -> str:
    for prefix, whose in _WHOSE.items():
        if key.startswith(prefix):
            return (
                f"is not {whose}; write {prefix}NAME with a name of lower-case "
                "letters, digits and hyphens"
            )
    ours = [f"{PROJECT}:lab", *_KNOWN]
    # What an external endpoint asks for and the file lacks is what was meant.
    hint = near_miss(key, wanted) or near_miss(key, ours)
    listed = ", ".join([*ours, *(f"{prefix}NAME" for prefix in _WHOSE)])
    return f"is not a setting of {PROJECT}{hint or f' ({listed} are); remove it'}"
