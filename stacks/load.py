"""Read a lab's settings, or say everything that is wrong with them.

`load` is the program's door: the values come from Pulumi. `read` is the door of the
`lab` commands: the values come from the file. Both look at the file's text for what
Pulumi does not tell: keys that are there twice, and secrets in plain text.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

from stacks import secrets, text
from stacks.explain import check, not_a, written
from stacks.raw import Path as SettingPath
from stacks.raw import Problem, TemplateFacts, near_miss
from stacks.schema import PROJECT, PULUMI_KEYS, LabConfig
from stacks.text import NotYamlError, StackText

STACKS = Path(__file__).resolve().parent
"""Folder of the stack files."""
_TEMPLATES = STACKS.parent / "model_templates"
LAB = ("config", f"{PROJECT}:lab")
"""Where a stack file holds the lab's settings."""


class SettingsError(Exception):
    """Every mistake in a stack file, one per line: file, line, setting, what to do."""

    def __init__(self, lines: Collection[str]) -> None:
        """Each of `lines` is a whole sentence."""
        super().__init__("\n".join(lines))


def path_of(stack: str) -> Path:
    """The file of a stack, which need not exist."""
    return STACKS / f"Pulumi.{stack}.yaml"


def load() -> LabConfig:
    """The settings of the stack that Pulumi is running; raises pulumi.RunError."""
    import pulumi  # half a second that `read` need not pay

    path = path_of(pulumi.get_stack())
    found = pulumi.Config(PROJECT).get("lab")
    try:
        stack = text.parse(path.read_bytes()) if path.is_file() else None
        # `get_object` would quote the text in its error.
        raw = json.loads(found) if found else None
        return _settings(raw, stack, named(path), template_names())
    except NotYamlError as error:
        raise pulumi.RunError(_line(named(path), error.line, str(error))) from None
    except json.JSONDecodeError:
        raise pulumi.RunError(
            f"{named(path)}: {PROJECT}:lab: {not_a('group of settings', found)}"
        ) from None
    except SettingsError as error:
        raise pulumi.RunError(str(error)) from None


def read(path: Path, *, templates: Collection[str] | None = None) -> LabConfig:
    """The settings in a stack file; raises SettingsError.

    `templates` are the names a release may choose from; those in `model_templates/`
    unless said.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SettingsError([_absent(path)]) from None
    except OSError as error:
        raise SettingsError(
            [f"{named(path)}: cannot be read ({error.strerror}); check its mode"]
        ) from None
    return parse_file(content, source=named(path), templates=templates)


def parse_file(
    content: bytes, *, source: str, templates: Collection[str] | None = None
) -> LabConfig:
    """The settings in a stack file's bytes; raises SettingsError naming `source`."""
    try:
        stack = text.parse(content)
    except NotYamlError as error:
        raise SettingsError([_line(source, error.line, str(error))]) from None
    config = stack.data.get("config") if isinstance(stack.data, Mapping) else None
    raw = config.get(LAB[1]) if isinstance(config, Mapping) else None
    return _settings(raw, stack, source, templates)


def parse(
    raw: object, *, source: str, templates: Collection[str] | None = None
) -> LabConfig:
    """The settings in `raw`; raises SettingsError naming `source`."""
    return _settings(raw, None, source, templates)


def template_names() -> frozenset[str]:
    """Names of the model templates that are there."""
    return frozenset(path.stem for path in _TEMPLATES.glob("*.yaml"))


@cache
def template_facts(name: str) -> TemplateFacts | None:
    """What settings must fit in a model template; None when it cannot be read."""
    try:
        found = text.parse((_TEMPLATES / f"{name}.yaml").read_bytes()).data
        return TemplateFacts(found["kind"], len(found["paths"]))
    except (OSError, NotYamlError, LookupError, TypeError):
        return None


def _settings(
    raw: object,
    stack: StackText | None,
    source: str,
    templates: Collection[str] | None,
) -> LabConfig:
    known = template_names() if templates is None else frozenset(templates)
    around = list(_around(stack)) if stack else []
    lab: LabConfig | None = None
    inside: list[Problem] = []
    if raw is not None or (stack and LAB in stack.lines):
        lab, inside = check(raw, known, template_facts)
    elif not stack or _could_have_a_lab(stack):
        missing = "is missing; `./lab new NAME` writes a stack file that has it"
        around.append((LAB, missing))
    problems = [*around, *(((*LAB, *path), text) for path, text in inside)]
    if lab and not problems:
        return lab
    at = [(stack.line(path) if stack else None, path, text) for path, text in problems]
    at.sort(key=lambda problem: problem[0] or 0)
    raise SettingsError(
        [_line(source, line, f"{_spelled(path)}: {text}") for line, path, text in at]
    )


def _around(stack: StackText) -> Iterator[Problem]:
    """What is wrong with the file around the lab's settings, and keys written twice."""
    yield from stack.twice
    if not isinstance(stack.data, Mapping):
        yield (
            ("config",),
            "is missing (the file has no settings); `./lab new NAME` writes a file "
            "that has them",
        )
        return
    for key in stack.data:
        if key not in PULUMI_KEYS:
            hint = (
                near_miss(str(key), PULUMI_KEYS)
                or "; move it below config or remove it"
            )
            yield (key,), f"is not a key of a stack file{hint}"
    config = stack.data.get("config")
    if not isinstance(config, Mapping):
        wrong = "is not a group of settings" if "config" in stack.data else "is missing"
        yield ("config",), f"{wrong}; write {PROJECT}:lab and its settings below it"
        return
    yield from secrets.problems(config)


def _could_have_a_lab(stack: StackText) -> bool:
    """Whether `labfactory:lab` is simply not there, rather than misspelt."""
    config = stack.data.get("config") if isinstance(stack.data, Mapping) else None
    return isinstance(config, Mapping) and not any(
        near_miss(str(key), LAB[1:]) or key == "lab"
        for key in config
        if not secrets.is_one(str(key))
    )


def _spelled(path: SettingPath) -> str:
    return written(path[2:] if path[:2] == LAB else path)


def _line(source: str, line: int | None, sentence: str) -> str:
    return f"{source}:{line}: {sentence}" if line else f"{source}: {sentence}"


def named(path: Path) -> str:
    """The path as a person in the project folder would write it."""
    path = path.resolve()
    root = STACKS.parent
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _absent(path: Path) -> str:
    there = sorted(file.name for file in path.parent.glob("Pulumi.*.yaml"))
    listed = f" (there is: {', '.join(there)})" if there else ""
    stack = path.stem.removeprefix("Pulumi.")
    return f"{named(path)}: does not exist{listed}; `./lab new {stack}` writes it"
