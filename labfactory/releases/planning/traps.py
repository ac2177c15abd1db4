"""Known-bad combinations of versions and settings, found in the objects of a plan.

What they are is data: `traps.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jmespath
import yaml
from jmespath.exceptions import JMESPathTypeError
from pydantic import BaseModel, ConfigDict, HttpUrl, model_validator

FILE = Path(__file__).with_name("traps.yaml")
CONTAINER, READINESS = "container", "readiness"
"""Kinds of traps beside those of objects."""
RUNNING = frozenset(
    {
        "ClusterServingRuntime",
        "CronJob",
        "DaemonSet",
        "Deployment",
        "InferenceService",
        "Job",
        "Pod",
        "ServingRuntime",
        "StatefulSet",
    }
)
"""Kinds with containers."""


class Trap(BaseModel):
    """One row of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    when: str | None = None
    image: str | None = None
    older: str | None = None
    versions: str
    because: str
    source: HttpUrl
    instead: str

    @model_validator(mode="after")
    def _it_says_when_it_closes(self) -> Trap:
        if self.kind != READINESS and not self.when and not (self.image and self.older):
            raise ValueError("needs `when`, or `image` and `older`")
        return self

    @cached_property
    def expression(self) -> Any:
        """`when`, ready to be asked."""
        return jmespath.compile(self.when)

    def closes(self, manifest: Mapping[str, Any]) -> bool:
        """Whether an object, or a container, is in the trap."""
        if self.image and self.older:
            name = f"/{manifest.get('repository')}"
            tag = manifest.get("tag") or ""
            return name.endswith(f"/{self.image}") and tag < self.older
        if not self.when:
            return False
        try:
            return _says_something(self.expression.search(manifest))
        except JMESPathTypeError:
            # A value that is known after the apply only; it can't be judged before.
            return False

    def sentence(self, where: str) -> str:
        """What is wrong at `where`, why, who says so, and the way out."""
        return (
            f"{where}: {self.because} ({self.versions}; {self.source}); {self.instead}"
        )


@cache
def load() -> Mapping[str, Trap]:
    """Return every trap by its name."""
    rows = yaml.safe_load(FILE.read_text())
    return {name: Trap.model_validate(row) for name, row in rows.items()}


def found(
    kind: str, manifest: Mapping[str, Any], *, autoscaled: bool = False
) -> Iterator[str]:
    """Yield a sentence for each trap that an object is in."""
    where = f"{kind}/{(manifest.get('metadata') or {}).get('name', '?')}"
    for trap in load().values():
        if trap.kind == kind and trap.closes({**manifest, "autoscaled": autoscaled}):
            yield trap.sentence(where)
    if kind not in RUNNING:
        return
    for container in containers(manifest.get("spec")):
        whose = f"{where}, container {container.get('name', '?')!r}"
        for trap in load().values():
            if trap.kind == CONTAINER and trap.closes(container):
                yield trap.sentence(whose)


def autoscaled(kind: str, manifest: Mapping[str, Any]) -> str | None:
    """Return KIND/NAME of what an autoscaler owns the number of pods of."""
    if kind not in ("HorizontalPodAutoscaler", "ScaledObject"):
        return None
    target = manifest["spec"]["scaleTargetRef"]
    return f"{target.get('kind', 'Deployment')}/{target['name']}"


def containers(spec: Any) -> Iterator[dict[str, Any]]:
    """Yield every container in a spec, with what traps ask about beside its fields."""
    if isinstance(spec, list):
        for each in spec:
            yield from containers(each)
    if not isinstance(spec, Mapping):
        return
    for key, value in spec.items():
        if key in ("containers", "initContainers") and isinstance(value, list):
            yield from map(_container, value)
        elif key == "model" and isinstance(value, Mapping):
            yield _container(value)
        else:
            yield from containers(value)


def _container(fields: Mapping[str, Any]) -> dict[str, Any]:
    image = fields.get("image") or ""
    name, _, digest = image.partition("@")
    # A colon before the last slash is a registry's port.
    folder, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    words = [*(fields.get("command") or []), *(fields.get("args") or [])]
    variables = fields.get("env") or []
    line = " ".join(map(str, words))
    return {
        **fields,
        "repository": f"{folder}{slash}{last}",
        "tag": tag,
        "digest": digest,
        "line": line,
        "workers": _workers(line),
        "environment": {each["name"]: each.get("value") for each in variables},
    }


def _workers(line: str) -> int | None:
    given = re.search(r"(?:--workers|(?<!\S)-w)[ =](\d+)", line)
    return int(given[1]) if given else None


def _says_something(answer: Any) -> bool:
    """Truth as JMESPath has it: 0 says something, what is empty does not."""
    return answer is not None and answer is not False and answer not in ("", [], {})
