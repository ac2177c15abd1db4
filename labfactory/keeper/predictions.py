"""Ask models for answers when a backup is made, and again when it is brought back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labfactory.keeper.settings import Model

EXAMPLES = ("serving_input_example.json", "input_example.json")
BESIDE = "expected.json"
MOST_ROWS = 20
SECONDS = 20.0


def record(
    models: Mapping[str, Model], folders: Mapping[str, Path]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Ask each live model about its own example rows; `folders` hold the artifacts.

    Returns `artifact`, `rows` and `answers` by RELEASE/VARIANT, and why others have
    none: a backup does not fail because a model is down.
    """
    found, notes = {}, []
    for name, model in models.items():
        rows = examples(folders[name]) if name in folders else []
        try:
            if not rows:
                raise ValueError("no example rows lie with its artifact")
            answers = ask(model.url, rows)
        except Exception as error:
            notes.append(
                f"model {name}: has no answers in this backup "
                f"({type(error).__name__}: {str(error)[:200]})"
            )
            continue
        found[name] = {"artifact": model.artifact, "rows": rows, "answers": answers}
    return found, notes


def examples(folder: Path) -> list[Any]:
    """Rows that were saved with the model, or beside it; none where there are none."""
    for file in (*(folder / name for name in EXAMPLES), folder.parent / BESIDE):
        if file.is_file():
            try:
                found = rows(json.loads(file.read_text()))
            except ValueError:
                continue
            if found:
                return found[:MOST_ROWS]
    return []


def rows(saved: Any) -> list[Any]:
    """The rows of an example, however it was spelled; those with names as objects."""
    if isinstance(saved, list):
        return saved
    if not isinstance(saved, dict):
        return []
    split = saved.get("dataframe_split", saved)
    if isinstance(split, dict) and isinstance(split.get("data"), list):
        names = split.get("columns")
        if not names:
            return list(split["data"])
        return [dict(zip(names, row, strict=False)) for row in split["data"]]
    for key in ("dataframe_records", "instances", "inputs", "rows"):
        if isinstance(saved.get(key), list):
            return list(saved[key])
    return []


def ask(url: str, rows: list[Any]) -> list[Any]:
    """What the model at `url` answers. Raises httpx.HTTPError, KeyError, ValueError."""
    import httpx

    answer = httpx.post(url, json={"instances": rows}, timeout=SECONDS)
    answer.raise_for_status()
    found: list[Any] = answer.json()["predictions"]
    return found


def replay(name: str, folder: Path, rows: list[Any]) -> list[Any]:
    """What the model in `folder` answers, by the code that serves it in the lab.

    Whatever the model raises goes through.
    """
    from model_server.slim import without_client

    without_client()
    from model_server.model import LabModel, load
    from model_server.served import Call

    model = LabModel(name, name, load(str(folder)))
    body = json.dumps({"instances": rows}).encode()
    answer, _ = asyncio.run(model(Call("v1", body)))
    found: list[Any] = json.loads(answer)["predictions"]
    return found
