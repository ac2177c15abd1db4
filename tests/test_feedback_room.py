from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pytest

from components.feedback import Feedback
from components.platform import Gateway
from components.storage import S3Access, Storage
from labfactory.guard.feedback.__main__ import NEEDED
from labfactory.releases.feedback import HOST, SECRET
from stacks.schema import LabConfig
from tests.harness import ADDRESS, SEED, Lab, deploy, example, variant


def feedback(*, seed: str = SEED, keys: str = "keys") -> Lab:
    def program() -> None:
        access = S3Access(
            "http://minio:9000",
            "us-east-1",
            pulumi.Output.from_input("storage-feedback"),
            pulumi.Output.from_input(keys),
        )
        storage = SimpleNamespace(access={"feedback": access}, ready=[])
        Feedback(
            "feedback",
            lab="demo",
            namespace="demo",
            image=lambda name: f"images/{name}:1",
            seed=pulumi.Output.secret(seed),
            storage=cast("Storage", storage),
            gateway=Gateway("edge", "lab", pulumi.Output.from_input(ADDRESS), []),
        )

    return deploy(program)


def lab_with(guard: dict[str, Any], **sections: Any) -> LabConfig:
    release = {"template": "mlflow", "guard": guard, "variants": {"v1": variant()}}
    settings = example(
        **{
            "predictions": {"bucket": "predictions"},
            "monitoring": {},
            "guard": {},
            "releases": {"iris": release},
            **sections,
        }
    )
    buckets = [*settings["storage"]["buckets"], "predictions"]
    storage = {**settings["storage"], "buckets": list(dict.fromkeys(buckets))}
    return LabConfig.model_validate({**settings, "storage": storage})


def test_the_pod_is_told_all_that_its_program_asks_for() -> None:
    lab = feedback()

    [(_, _, spec)] = lab.pods()
    [container] = spec["containers"]
    told = {each["name"] for each in container["env"]}
    assert {name for name in NEEDED if not name.startswith("PREDICTIONS_")} <= told
    assert container["envFrom"] == [{"secretRef": {"name": "storage-feedback"}}]


def test_the_pod_may_read_routes_and_nothing_else() -> None:
    lab = feedback()

    [(_, _, spec)] = lab.pods()
    [rule] = lab.one("Role", "feedback").inputs["rules"]
    binding = lab.one("RoleBinding", "feedback").inputs
    assert rule == {
        "apiGroups": ["gateway.networking.k8s.io"],
        "resources": ["httproutes"],
        "verbs": ["get", "list"],
    }
    assert binding["subjects"][0]["name"] == spec["serviceAccountName"]
    assert spec["automountServiceAccountToken"] is True


def test_requests_arrive_through_the_gateway_at_the_path_of_labels_alone() -> None:
    lab = feedback()

    route = lab.one("HTTPRoute", "feedback").spec
    [rule] = route["rules"]
    [(_, metadata, _)] = lab.pods()
    service = lab.one("Service", "feedback").spec
    assert route["hostnames"] == [HOST.format(lab="demo")]
    assert rule["matches"] == [
        {"path": {"type": "PathPrefix", "value": "/v1/feedback"}}
    ]
    assert rule["backendRefs"][0]["port"] == service["ports"][0]["port"]
    assert service["selector"].items() <= metadata["labels"].items()


def test_the_route_is_no_release_s() -> None:
    metadata = feedback().one("HTTPRoute", "feedback").metadata

    assert "labels" not in metadata


def test_the_token_is_secret_and_lies_where_the_command_looks() -> None:
    lab = feedback()

    found = lab.one("Secret", SECRET)
    assert "stringData" in found.secrets
    assert len(found.inputs["stringData"]["token"]) == 32


@pytest.mark.parametrize(
    "changed", [{"seed": SEED[::-1]}, {"keys": "others"}], ids=["token", "store"]
)
def test_other_keys_restart_the_pod(changed: dict[str, str]) -> None:
    before, after = feedback(), feedback(**changed)

    [(_, old, _)], [(_, new, _)] = before.pods(), after.pods()
    assert old["annotations"] != new["annotations"]


def test_one_pod_goes_before_the_next_comes() -> None:
    spec = feedback().one("Deployment", "feedback").spec

    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
