"""Make the files beside this one out of the projects' own manifests.

    python -m components.manifests.render GO_MODULE_CACHE

The versions are those of the Go modules in `tools/`, so a tool and its objects cannot
drift apart. The definitions keep the schema that fills in defaults and refuses
mistakes, and lose what only people read: Pulumi's state holds each of them thrice.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
TOOLS = FOLDER.parents[1] / "tools"
KSERVE = ("kserve", "github.com/kserve/kserve")
CONTOUR = ("kubernetes", "github.com/projectcontour/contour")
"""Folder in `tools/` and Go module of each project."""

USED = {"gatewayclasses", "gateways", "httproutes", "referencegrants"}
"""Definitions that keep their schema: objects of these kinds are really made."""
WATCHED = {"httpproxies", "tlscertificatedelegations"}
"""Contour does not start without these; nobody makes any, so anything goes."""

Object = dict[str, Any]


def version(project: tuple[str, str]) -> str:
    """The version of a project's Go module, as `tools/` says."""
    folder, module = project
    text = (TOOLS / folder / "go.mod").read_text()
    found = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", text, re.M)
    if found is None:
        raise LookupError(f"tools/{folder}/go.mod does not require {module}")
    return found[1]


def render(modules: Path) -> dict[str, str]:
    """Every file's name and text, from the Go modules unpacked in `modules`."""
    kserve = modules / f"{KSERVE[1]}@{version(KSERVE)}" / "config"
    contour = modules / f"{CONTOUR[1]}@{version(CONTOUR)}" / "examples"
    return {
        "gateway.json": _file(CONTOUR, [*_gateway(contour)]),
        "contour.json": _file(CONTOUR, [*_contour(contour)]),
        "kserve-definitions.json": _file(KSERVE, [*_definitions(kserve)]),
        "kserve.json": _file(KSERVE, [*_access(kserve)]),
        "kserve-webhooks.json": _file(KSERVE, [*_webhooks(kserve)]),
    }


def _gateway(examples: Path) -> Iterator[Object]:
    for found in _objects(examples / "gateway/00-crds.yaml"):
        if _plural(found) in USED and found["kind"] == "CustomResourceDefinition":
            yield _definition(found)
    for found in _objects(examples / "contour/01-crds.yaml"):
        if _plural(found) in WATCHED:
            yield _open(_definition(found))


def _contour(examples: Path) -> Iterator[Object]:
    for name in ("00-common", "02-role-contour", "02-rbac"):
        for found in _objects(examples / f"contour/{name}.yaml"):
            if found["kind"] != "Namespace":
                yield found


def _definitions(config: Path) -> Iterator[Object]:
    for folder in ("crd/minimal", "crd/minimal/clusterstoragecontainer"):
        for path in sorted((config / folder).glob("serving.kserve.io_*.yaml")):
            yield from (_definition(found) for found in _objects(path))


def _access(config: Path) -> Iterator[Object]:
    for name in ("service_account", "role", "role_binding"):
        for found in _objects(config / f"rbac/{name}.yaml"):
            for subject in found.get("subjects", []):
                subject["namespace"] = "kserve"
            yield found


def _webhooks(config: Path) -> Iterator[Object]:
    for found in _objects(config / "webhook/manifests.yaml"):
        found["metadata"] = {"name": found["metadata"]["name"]}
        for webhook in found["webhooks"]:
            webhook["clientConfig"]["service"] |= {
                "name": "kserve-webhook-server-service",
                "namespace": "kserve",
            }
        yield found


def _definition(found: Object) -> Object:
    """A definition with its stored version alone, and without descriptions."""
    metadata = found["metadata"]
    stored = [each for each in found["spec"]["versions"] if each["storage"]]
    return {
        "apiVersion": found["apiVersion"],
        "kind": found["kind"],
        "metadata": {
            "name": metadata["name"],
            "annotations": {
                key: value
                for key, value in metadata.get("annotations", {}).items()
                if key.startswith(("api-approved", "gateway.networking"))
            },
        },
        "spec": _undescribed({**found["spec"], "versions": stored}),
    }


def _open(found: Object) -> Object:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    for each in found["spec"]["versions"]:
        each["schema"] = {"openAPIV3Schema": anything}
    return found


def _undescribed(value: Any, *, names: bool = False) -> Any:
    """`value` without descriptions; `names` when its keys are the names of fields."""
    if isinstance(value, Mapping):
        return {
            key: _undescribed(each, names=key == "properties" and not names)
            for key, each in value.items()
            if names or key != "description"
        }
    if isinstance(value, list):
        return [_undescribed(each) for each in value]
    return value


def _plural(found: Object) -> str:
    return str(found["metadata"]["name"]).partition(".")[0]


def _objects(path: Path) -> list[Object]:
    text = path.read_text()
    return [found for found in yaml.load_all(text, yaml.CSafeLoader) if found]


def _file(project: tuple[str, str], objects: list[Object]) -> str:
    source = f"{project[1]} {version(project)}"
    return json.dumps({"source": source, "objects": objects}, indent=1) + "\n"


if __name__ == "__main__":
    for name, text in render(Path(sys.argv[1])).items():
        (FOLDER / name).write_text(text)
