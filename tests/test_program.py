"""The whole program, run for every committed stack, and what must hold in all of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness import ADDRESS, ROOT, SECRETS, STACKS, Lab, example, house, variant

GOLDEN = ROOT / "tests" / "golden"
COPIES = 3
"""Pulumi's state holds each object as declared, as sent and as it is live."""
S3 = {
    "kind": "s3",
    "endpoint": "https://s3.example.com",
    "region": "eu-west-1",
    "buckets": ["mlflow", "datasets", "predictions"],
}


def release(template: str = "mlflow", **variants: dict[str, Any]) -> dict[str, Any]:
    return {"template": template, "variants": variants}


TWO_RELEASES = {"iris": release(v1=variant(1)), "wine": release(v7=variant(7))}


@pytest.fixture(scope="module")
def lab() -> Lab:
    return house(example(releases=TWO_RELEASES))


def declared(lab: Lab) -> dict[str, Mapping[str, Any]]:
    return {found.name: found.inputs for found in lab.declared}


def outline(lab: Lab) -> str:
    """One line per resource, without what follows from the content of an image."""
    lines = sorted(f"{d.parent or '.'} > {d.type} {d.name}" for d in lab.declared)
    return "".join(re.sub(r"-[0-9a-f]{8}$", "-HASH", line) + "\n" for line in lines)


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.stem)
def test_the_resource_tree_is_the_one_reviewed(path: Path) -> None:
    settings = yaml.safe_load(path.read_text())["config"]["labfactory:lab"]

    tree = outline(house(settings, stack=path.stem.removeprefix("Pulumi.")))

    golden = GOLDEN / f"{path.stem}.txt"
    if "UPDATE_GOLDEN" in os.environ:
        golden.write_text(tree)
    assert tree == golden.read_text()


def test_there_is_a_committed_stack_whose_tree_is_reviewed() -> None:
    assert [path.stem for path in STACKS] == [
        p.stem for p in sorted(GOLDEN.glob("Pulumi.*"))
    ]
    assert STACKS


def test_the_program_is_short_enough_to_be_read_aloud() -> None:
    assert len((ROOT / "__main__.py").read_text().splitlines()) <= 80


def test_the_state_stays_small_and_the_resources_few(lab: Lab) -> None:
    size = COPIES * sum(len(json.dumps(found.inputs)) for found in lab.declared)

    assert size < 800_000  # of 1 MB: what the API server adds is not counted
    assert len(lab.declared) < 200


def test_everything_says_whose_it_is(lab: Lab) -> None:
    for found in lab.objects():
        assert found.metadata["labels"].items() >= {
            ("app.kubernetes.io/managed-by", "labfactory"),
            ("labfactory.io/lab", "example"),
            ("labfactory.io/owner", "vision"),
        }, found.name
    for found, metadata, _ in lab.pods():
        assert metadata["labels"]["labfactory.io/owner"] == "vision", found.name


def test_what_an_interrupted_run_has_made_is_taken_up_again(lab: Lab) -> None:
    [provider] = [d for d in lab.declared if d.type == "pulumi:providers:kubernetes"]

    # A name that Pulumi makes up would be another one at the next try.
    assert all(found.metadata.get("name") for found in lab.objects())
    assert provider.inputs["upsertExistingObjects"] == "true"
    managers = {
        found.metadata["annotations"]["pulumi.com/patchFieldManager"]
        for found in lab.objects()
    }
    assert managers == {"labfactory"}


def test_no_two_resources_are_the_same_object(lab: Lab) -> None:
    objects = [
        (found.type, found.metadata.get("namespace"), found.metadata["name"])
        for found in lab.objects()
    ]

    assert len(set(objects)) == len(objects)


def test_pods_need_no_privilege_and_cannot_change_their_files(lab: Lab) -> None:
    for found, _, spec in lab.pods():
        context = spec["securityContext"]
        assert context["runAsNonRoot"], found.name
        assert context["runAsUser"] > 0, found.name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, found.name
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            own = {"runAsUser": context["runAsUser"], **container["securityContext"]}
            assert own.pop("runAsUser") > 0, found.name
            assert own == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }, found.name
            assert "hostPort" not in json.dumps(container), found.name
        volumes = json.dumps(spec.get("volumes", []))
        assert "hostPath" not in volumes, found.name


def test_pods_say_what_they_need_and_how_they_are(lab: Lab) -> None:
    for found, _, spec in lab.pods():
        for container in spec["containers"]:
            for kind in ("requests", "limits"):
                assert set(container["resources"][kind]) == {"cpu", "memory"}, (
                    found.name
                )
            if found.kind != "Job":
                assert "readinessProbe" in container, found.name
                assert "livenessProbe" in container, found.name


def test_only_controllers_and_watchers_may_talk_to_the_api_server(lab: Lab) -> None:
    allowed = {
        found.metadata["name"]
        for found, _, spec in lab.pods()
        if spec["automountServiceAccountToken"]
    }

    assert allowed == {
        "contour",
        "guard",
        "kserve-controller-manager",
        "prometheus",
        "state-metrics",
    }
    assert not lab.one("ServiceAccount", "models").inputs[
        "automountServiceAccountToken"
    ]


def test_namespaces_admit_only_restricted_pods(lab: Lab) -> None:
    for found in lab.all("Namespace"):
        labels = found.metadata["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted", found.name


def test_every_service_finds_its_pods_and_their_port(lab: Lab) -> None:
    pods = [
        (found.metadata["namespace"], metadata["labels"], spec)
        for found, metadata, spec in lab.pods()
    ]
    ours = [found for found in lab.all("Service") if found.name != "monitoring-models"]
    for service in ours:
        [spec] = [
            spec
            for namespace, labels, spec in pods
            if namespace == service.metadata["namespace"]
            and service.spec["selector"].items() <= labels.items()
        ]
        ports = [p for c in spec["containers"] for p in c.get("ports", [])]
        for port in service.spec["ports"]:
            target = port.get("targetPort", port["port"])
            assert any(target in (p["containerPort"], p["name"]) for p in ports)


def test_selectors_never_hold_what_may_change(lab: Lab) -> None:
    for found, metadata, _ in lab.pods():
        if found.kind != "Job":
            selector = found.spec["selector"]["matchLabels"]
            assert selector.items() <= metadata["labels"].items(), found.name
            assert not any("labfactory.io" in key for key in selector), found.name


def test_no_secret_leaves_its_secret(lab: Lab) -> None:
    for found in lab.objects():
        if found.kind == "Secret":
            assert found.secrets, found.name
    text = json.dumps([d.inputs for d in lab.declared if d.kind != "Secret"])
    for found in lab.all("Secret"):
        for key, value in {**found.inputs.get("stringData", {})}.items():
            open_ = key == "PREDICTIONS_ENDPOINT" or len(value) < 12
            assert open_ or value not in text, found.name
    for value in SECRETS.values():
        assert value not in text


def test_mounted_and_read_secrets_exist(lab: Lab) -> None:
    there = {
        (found.metadata["namespace"], found.metadata["name"]): {
            *found.inputs.get("data", {}),
            *found.inputs.get("stringData", {}),
        }
        for found in lab.all("Secret")
    }
    for found, _, spec in lab.pods():
        home = found.metadata["namespace"]
        for volume in spec.get("volumes", []):
            if "secret" in volume:
                assert (home, volume["secret"]["secretName"]) in there, found.name
        for container in spec["containers"]:
            for variable in container.get("env", []):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference:
                    assert reference["key"] in there[home, reference["name"]]


def test_an_edit_of_one_release_changes_nothing_of_another(lab: Lab) -> None:
    edited = house(example(releases={**TWO_RELEASES, "iris": release(v2=variant(2))}))

    before, after = declared(lab), declared(edited)
    touched = {
        name for name in {*before, *after} if before.get(name) != after.get(name)
    }
    assert touched == {
        "serving-service-iris-v1",
        "serving-service-iris-v2",
        "serving-route-iris",
    }


def test_a_lab_that_changes_hands_stays_the_same_lab(lab: Lab) -> None:
    other = house(example(releases=TWO_RELEASES, owner="speech"))

    def names(of: Lab) -> dict[str, str]:
        return {d.name: d.metadata["name"] for d in of.objects()}

    assert names(other) == names(lab)


def test_nothing_changes_when_nothing_was_edited(lab: Lab) -> None:
    assert declared(house(example(releases=TWO_RELEASES))) == declared(lab)


def test_the_rest_of_the_lab_cannot_tell_which_store_it_is(lab: Lab) -> None:
    elsewhere = house(example(releases=TWO_RELEASES, storage=S3))

    def others(of: Lab) -> dict[str, Any]:
        blurred = json.dumps(
            {
                name: found
                for name, found in declared(of).items()
                # Whoever watches a store, or lets others in, knows which one it is.
                if not name.startswith(("storage", "monitoring", "network"))
            }
        )
        for store in ("http://minio:9000", "https://s3.example.com"):
            blurred = blurred.replace(store, "STORE")
        for region in ("us-east-1", "eu-west-1"):
            blurred = blurred.replace(region, "REGION")
        found: dict[str, Any] = json.loads(blurred)
        server = found["tracking-server"]["spec"]["template"]["metadata"]
        assert server["annotations"].pop("labfactory.io/credentials")
        return found

    assert others(elsewhere) == others(lab)


def test_the_outputs_lead_to_every_part_of_the_lab(lab: Lab) -> None:
    gateway = f"http://{ADDRESS}"

    assert lab.exports == {
        "namespace": "example",
        "lab_image": lab.exports["lab_image"],
        "gateway_url": gateway,
        "monitoring_url": f"http://{ADDRESS}:9090",
        "alerts_url": f"http://{ADDRESS}:9093",
        "storage_url": f"http://{ADDRESS}:9000",
        "tracking_url": f"http://{ADDRESS}:5000",
        "model_hosts": {
            "iris": "iris.example.lab.internal",
            "wine": "wine.example.lab.internal",
        },
        "model_urls": {
            "iris": f"{gateway}/v1/models/iris:predict",
            "wine": f"{gateway}/v1/models/wine:predict",
        },
    }


def test_a_plain_destroy_is_not_refused(lab: Lab) -> None:
    assert not [found.name for found in lab.declared if found.protect]
