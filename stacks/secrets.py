"""Which secrets a stack file may hold, and what is wrong with those that it has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from stacks.raw import Problem, near_miss
from stacks.schema import EXTERNAL_KEY, PROJECT, SECRETS
from stacks.variant_rules import externals

NAME = r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?"
"""What follows `external-`: stacks.values.Name as a pattern."""
_EXTERNAL = f"{PROJECT}:{EXTERNAL_KEY}"
_KNOWN = tuple(f"{PROJECT}:{name}" for name in SECRETS)


def is_one(key: str) -> bool:
    """Whether a key of `config` is the name of a secret."""
    return key in _KNOWN or bool(re.fullmatch(_EXTERNAL + NAME, key))


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
        yield (
            path,
            "names a secret that the stack does not have; set it with "
            f"`pulumi config set --secret {secret}`",
        )


def _wanted(config: Mapping[str, Any]) -> dict[str, tuple[str | int, ...]]:
    """The secrets that external endpoints name, and where the first one does."""
    lab = config.get(f"{PROJECT}:lab")
    found: dict[str, tuple[str | int, ...]] = {}
    for path, external in externals(lab) if isinstance(lab, Mapping) else ():
        name = external.get("key")
        if isinstance(name, str) and re.fullmatch(NAME, name):
            place = ("config", f"{PROJECT}:lab", *path, "key")
            found.setdefault(f"{_EXTERNAL}{name}", place)
    return found


def _looks_like_ours(key: str) -> bool:
    prefix, colon, _ = key.partition(":")
    return prefix == PROJECT or not colon or bool(near_miss(prefix, (PROJECT,)))


def _unknown(key: str, wanted: list[str]) -> str:
    if key.startswith(_EXTERNAL):
        return (
            f"is not the key of an external endpoint; write {_EXTERNAL}NAME with a "
            "name of lower-case letters, digits and hyphens"
        )
    ours = [f"{PROJECT}:lab", *_KNOWN]
    # What an external endpoint asks for and the file lacks is what was meant.
    hint = near_miss(key, wanted) or near_miss(key, ours)
    listed = ", ".join([*ours, f"{_EXTERNAL}NAME"])
    return f"is not a setting of {PROJECT}{hint or f' ({listed} are); remove it'}"
