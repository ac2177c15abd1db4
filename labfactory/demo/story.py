"""What `lab demo` does, step by step; a step that is done already is not done again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
from kubernetes import client
from rich.console import Console
from rich.table import Table
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from labfactory import environment, labs, paths
from labfactory.demo.training import Training, job
from labfactory.errors import LabError
from labfactory.progress import Progress
from labfactory.releases import changes
from labfactory.releases.edit import write_release
from labfactory.releases.models.registry import ModelVersion, Registry
from labfactory.settings.edit import edit
from labfactory.settings.new import new
from labfactory.stack import Stack
from stacks.schema import EmbeddedCluster, LabConfig

LAB = "demo"


@dataclass(frozen=True)
class Example:
    """A model of the demo and the data set of scikit-learn that it learns from."""

    model: str
    dataset: str


CLASSIFIER = Example("breast-cancer", "breast_cancer")
REGRESSOR = Example("diabetes", "diabetes")
EXAMPLES = (CLASSIFIER, REGRESSOR)
GRIDS = {1: "first", 2: "better"}
"""The parameter grid whose best model becomes that version."""


class Demo:
    """The lab of the demo, and what the steps need to know of it."""

    def __init__(self, lab: str, progress: Progress) -> None:
        """Tell the story in the lab `lab`, which is made when it is not there."""
        self.stack = Stack(lab)
        self.progress = progress
        if self.stack.file.exists() and outlived(self.settings):
            aside = self.stack.file.rename(f"{self.stack.file}.old")
            progress.say(f"  its models were purged: old settings are in {aside.name}")
        if not self.stack.file.exists():
            new(lab, owner="demo", target="embedded")
        self.outputs = self.apply()
        self.registry = Registry(
            self.outputs["tracking_url"], bucket=self.settings.tracking.bucket
        )

    @property
    def settings(self) -> LabConfig:
        """The lab's settings as they are on disk now."""
        return self.stack.settings

    def apply(self) -> dict[str, Any]:
        """Bring the lab to what its settings say."""
        return labs.stand_up(self.stack.name, progress=self.progress)

    def train(self, example: Example, version: int) -> None:
        """Train until the registry has `version` of the example's model."""
        if version in self.registry.versions(example.model):
            return
        settings = self.settings
        manifest = job(
            example.model,
            example.dataset,
            GRIDS[version],
            image=self.outputs["lab_image"],
            bucket=settings.tracking.bucket,
            owner=settings.owner,
        )
        title = f"train {example.model}, parameter grid {GRIDS[version]!r}"
        with self.progress.step(title, estimate=45) as step:
            Training(settings.cluster.context, settings.name).run(manifest, step)

    def release(self, example: Example, version: int, *, traffic: int = 0) -> bool:
        """Write the version into the settings unless it, or a later one, is there."""
        current = self.settings.releases.get(example.model)
        there = [v.version or 0 for v in current.variants.values()] if current else []
        if there and max(there) >= version:
            return False
        return write_release(
            self.stack.name, example.model, str(version), traffic=traffic
        )

    def edit(self, operation: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        """Write into the settings what `operation` makes of them; apply nothing."""
        edit(self.stack.file, operation).write()

    def check(self, example: Example) -> str:
        """Send real rows through the gateway; compare with the model in-process."""
        release = self.settings.releases[example.model]
        variant = release.variants[release.stable()]
        found = self.registry.resolve(example.model, str(variant.version))
        expected = json.loads(self.registry.run_artifact(found.run_id, "expected.json"))
        answer = ask(self.outputs, example.model, expected["rows"])
        if answer["predictions"] != expected["predictions"]:
            raise LabError(
                f"release {example.model!r}: the gateway's answers differ from the "
                f"model's own predictions; please report this with the file "
                f"expected.json of run {found.run_id}"
            )
        return (
            f"{example.model}: {len(expected['rows'])} real rows through the gateway, "
            f"answers equal the model's own ({answer['served_by']})"
        )

    def services(self) -> dict[str, str]:
        """The identity of every predictor pod, by InferenceService."""
        settings = self.settings
        core = client.CoreV1Api(environment.kubernetes(settings.cluster.context))
        key = "serving.kserve.io/inferenceservice"
        pods = core.list_namespaced_pod(settings.name, label_selector=key).items
        return {pod.metadata.labels[key]: pod.metadata.uid for pod in pods}


@retry(
    retry=retry_if_exception_type((httpx.TransportError, LabError)),
    stop=stop_after_delay(30),
    wait=wait_fixed(0.5),
    reraise=True,
)
def ask(outputs: dict[str, Any], release: str, rows: list[Any]) -> dict[str, Any]:
    """Predict through the gateway; the route of a new release may take a moment."""
    answer = httpx.post(
        f"{outputs['gateway_url']}/v1/models/{release}:predict",
        headers={"Host": outputs["model_hosts"][release]},
        json={"instances": rows},
        timeout=30,
    )
    if answer.is_error:
        raise LabError(
            f"release {release!r}: the gateway answers {answer.status_code}: "
            f"{answer.text[:200]}"
        )
    found: dict[str, Any] = answer.json()
    return found


def run(lab: str = LAB, *, console: Console | None = None) -> None:
    """Tell the whole story; every step is skipped when it is done already."""
    console = console or Console()
    progress = Progress()
    demo = Demo(lab, progress)

    with ThreadPoolExecutor(max_workers=len(EXAMPLES)) as pool:
        for training in [pool.submit(demo.train, e, 1) for e in EXAMPLES]:
            training.result()
    if any([demo.release(example, 1) for example in EXAMPLES]):
        demo.outputs = demo.apply()
    for example in EXAMPLES:
        progress.say(f"  ✓ {demo.check(example)}")

    demo.train(CLASSIFIER, 2)
    before = demo.services()
    if demo.release(CLASSIFIER, 2, traffic=10):
        demo.outputs = demo.apply()
        progress.say(f"  ✓ {CLASSIFIER.model}: one request in ten goes to version 2")
        demo.edit(lambda tree: changes.promote(tree, CLASSIFIER.model))
        demo.outputs = demo.apply()
        progress.say(f"  ✓ {demo.check(CLASSIFIER)}")
        progress.say(f"  ✓ {difference(before, demo.services())}")
    console.print(summary(demo))
    console.print("A request that works:\n", highlight=False)
    print(curl(demo))


def only(tree: Mapping[str, Any], release: str, found: ModelVersion) -> dict[str, Any]:
    """The settings with `found` as the only variant of `release`."""
    old = tree.get("releases", {}).get(release, {"template": "mlflow"})
    pinned = {
        "version": found.version,
        "artifact": found.artifact,
        "digest": found.digest,
        "role": "stable",
        "traffic": 100,
    }
    alone = {**old, "variants": {f"v{found.version}": pinned}}
    return {**tree, "releases": {**tree.get("releases", {}), release: alone}}


def outlived(settings: LabConfig) -> bool:
    """Whether the settings release models whose cluster was purged."""
    cluster = settings.cluster
    return (
        isinstance(cluster, EmbeddedCluster)
        and bool(settings.releases)
        and not paths.kubeconfig(cluster.name).exists()
    )


def difference(before: dict[str, str], after: dict[str, str]) -> str:
    """Say which model services an edit touched, by the identity of their pods."""
    touched = sorted({n for n, uid in after.items() if before.get(n) != uid})
    kept = sorted(name for name, uid in before.items() if after.get(name) == uid)
    return f"the edit started {', '.join(touched)}; untouched: {', '.join(kept)}"


def summary(demo: Demo) -> Table:
    """Addresses, a request that works, and what to try next."""
    outputs = demo.outputs
    table = Table(title=f"Lab {demo.stack.name!r} is up", show_header=False)
    table.add_row("MLflow", outputs["tracking_url"])
    table.add_row("Object store", outputs["storage_url"])
    for release, host in sorted(outputs["model_hosts"].items()):
        path = f"{outputs['gateway_url']}/v1/models/{release}:predict"
        table.add_row(f"Model {release}", f"{path}\nHost: {host}")
    table.add_section()
    table.add_row(
        "Next",
        f"stacks/{demo.stack.file.name} says what the lab is: edit it, then\n"
        f'eval "$(./lab env)"; pulumi preview; pulumi up\n'
        f"./lab status    ./lab rollback {CLASSIFIER.model} --because 'a try'\n"
        f"./lab down    ./lab down --purge",
    )
    return table


def curl(demo: Demo) -> str:
    """A curl line with a real row that works as it stands."""
    release = REGRESSOR.model
    found = demo.registry.resolve(release, "1")
    expected = json.loads(demo.registry.run_artifact(found.run_id, "expected.json"))
    body = json.dumps({"instances": expected["rows"][:1]})
    return (
        f"curl -H 'Host: {demo.outputs['model_hosts'][release]}' \\\n"
        f"  {demo.outputs['gateway_url']}/v1/models/{release}:predict \\\n"
        f"  -H 'Content-Type: application/json' -d '{body}'"
    )
