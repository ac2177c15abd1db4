"""The stack as the engine sends it, as the lab that the rules see."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from policies.rules.lab import Lab, Resource

SIGNATURE = "4dabf18193072939515e22adb298388d"
"""Key of what is no plain value: a secret, an asset, an archive."""
UNKNOWN = frozenset(
    (
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    )
)
"""What stands for values that a preview does not know, one for each type."""
STACK = "pulumi:pulumi:Stack"


def lab(
    resources: Iterable[Any], environment: Mapping[str, str], *, today: date
) -> Lab:
    """The lab of an AnalyzeStackRequest's resources.

    Settings come from PULUMI_CONFIG, the last drill from the file LABFACTORY_FACTS.
    """
    config = json.loads(environment.get("PULUMI_CONFIG") or "{}")
    facts = environment.get("LABFACTORY_FACTS")
    declared = [_resource(each) for each in resources if each.type != STACK]
    # They come in the order in which the program got to them.
    declared.sort(key=lambda each: (each.type, each.name))
    return Lab(
        settings=json.loads(config.get("labfactory:lab") or "{}"),
        resources=tuple(declared),
        today=today,
        drill=json.loads(Path(facts).read_text()).get("drill") if facts else None,
    )


def _resource(sent: Any) -> Resource:
    return Resource(
        type=sent.type,
        name=sent.name,
        props=_struct(sent.properties),
        parent=_name(sent.parent),
        protect=sent.options.protect,
        after=tuple(sorted(map(_name, sent.dependencies))),
    )


def _struct(struct: Any) -> dict[str, Any]:
    """A protobuf Struct, without what is unknown. A secret is its value: rules have
    to see it, and never quote one."""
    read = {key: _value(value) for key, value in struct.fields.items()}
    return {key: value for key, value in read.items() if not _unknown(value)}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        fields = value.struct_value.fields
        # An asset or an archive has no `value`: a rule has nothing to say about it.
        if SIGNATURE in fields:
            return _value(fields["value"]) if "value" in fields else None
        return _struct(value.struct_value)
    if kind == "list_value":
        read = [_value(each) for each in value.list_value.values]
        return [each for each in read if not _unknown(each)]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    return None if kind in (None, "null_value") else getattr(value, kind)


def _unknown(value: object) -> bool:
    return isinstance(value, str) and value in UNKNOWN


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]
