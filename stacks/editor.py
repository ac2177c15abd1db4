"""What an editor knows about stack files; `python -m stacks.editor` writes it.

Every stack file names it in its first line: editors then complete and check settings.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stacks import secrets
from stacks.schema import EXTERNAL_KEY, PROJECT, PULUMI_KEYS, SECRETS, LabConfig

HEADER = "# yaml-language-server: $schema=schema.json"
"""First line of every stack file."""
FILE = Path(__file__).with_name("schema.json")


def json_schema() -> dict[str, Any]:
    """JSON schema of a whole stack file, for editors."""
    lab = LabConfig.model_json_schema()
    definitions = lab.pop("$defs")
    secret = {
        "type": "object",
        "description": "Encrypted by `pulumi config set --secret`.",
        "properties": {"secure": {"type": "string"}},
        "required": ["secure"],
        "additionalProperties": False,
    }
    ours: dict[str, Any] = {f"{PROJECT}:lab": {"$ref": "#/$defs/LabConfig"}}
    ours |= {f"{PROJECT}:{name}": {"$ref": "#/$defs/Secret"} for name in SECRETS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stack file of labfactory",
        "type": "object",
        "properties": {
            **{key: {} for key in PULUMI_KEYS},
            "config": {
                "type": "object",
                "properties": ours,
                "patternProperties": {
                    f"^{PROJECT}:{EXTERNAL_KEY}{secrets.NAME}$": {
                        "$ref": "#/$defs/Secret"
                    },
                    f"^(?!{PROJECT}:)[^:]+:": {},
                },
                "required": [f"{PROJECT}:lab"],
                "additionalProperties": False,
            },
        },
        "required": ["config"],
        "additionalProperties": False,
        "$defs": {**definitions, "LabConfig": lab, "Secret": secret},
    }


def rendered() -> str:
    """The text of schema.json."""
    return json.dumps(json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(rendered())
