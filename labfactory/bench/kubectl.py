"""What a person does with kubectl: apply objects, wait for them, delete them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

from labfactory import paths, tools
from labfactory.bench.ground import NAME
from labfactory.bench.rendered import ready_when
from labfactory.errors import LabError

PATIENCE = "300s"


class Kubectl:
    """Works on the cluster of the bench."""

    def apply(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Apply the objects in their order, at one call."""
        listed = {"apiVersion": "v1", "kind": "List", "items": [*objects]}
        self.run("apply", "--server-side", "-f", "-", stdin=json.dumps(listed))

    def wait(self, objects: Iterable[dict[str, Any]]) -> None:
        """Wait until each object is what Pulumi would wait for."""
        together: dict[tuple[str, str], list[str]] = {}
        for each in objects:
            if condition := ready_when(each):
                where = each["metadata"].get("namespace", "default")
                together.setdefault((where, condition), []).append(name_of(each))
        for (where, condition), names in together.items():
            if condition != "rollout":
                words = ("wait", f"--for={condition}", f"--timeout={PATIENCE}")
                self.run("-n", where, *words, *names)
                continue
            for name in names:
                words = ("rollout", "status", f"--timeout={PATIENCE}")
                self.run("-n", where, *words, name)

    def delete(self, made: dict[str, Any]) -> None:
        """Delete one object; return before it is gone."""
        where = made["metadata"]["namespace"]
        self.run("-n", where, "delete", "--wait=false", name_of(made))

    def await_pods_gone(self, namespace: str, service: str) -> None:
        """Wait until an InferenceService has no pods any more."""
        label = f"serving.kserve.io/inferenceservice={service}"
        words = ("wait", "--for=delete", "pod", "-l", label, f"--timeout={PATIENCE}")
        self.run("-n", namespace, *words)

    def get(self, *words: str) -> dict[str, Any]:
        """What `kubectl get` finds."""
        found: dict[str, Any] = json.loads(self.run("get", *words, "-o", "json"))
        return found

    def run(self, *words: str, stdin: str = "") -> str:
        """Run kubectl; raises LabError with what it said."""
        result = subprocess.run(
            [tools.path("kubectl"), "--kubeconfig", paths.kubeconfig(NAME), *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise LabError(f"lab bench: kubectl says: {result.stderr.strip()}")
        return result.stdout


def name_of(made: Mapping[str, Any]) -> str:
    """An object as kubectl names it: `deployment.apps/mlflow`."""
    group = made["apiVersion"].rpartition("/")[0].partition("/")[0]
    kind = made["kind"].lower() + (f".{group}" if group else "")
    return f"{kind}/{made['metadata']['name']}"
