from __future__ import annotations

import json
from typing import Any

import pulumi

from components.platform import Gateway
from components.serving import Serving
from components.storage import S3Access
from stacks.schema import ReleaseConfig
from tests.harness import Declared, Lab, deploy, variant


def release(template: str = "mlflow", **variants: dict[str, Any]) -> ReleaseConfig:
    return ReleaseConfig.model_validate({"template": template, "variants": variants})


def serving(
    *,
    image: str = "images/lab:1",
    consumers: tuple[str, ...] = ("serving",),
    **releases: ReleaseConfig,
) -> Lab:
    def program() -> None:
        webhook = pulumi.CustomResource("kubernetes:test:Webhook", "webhook", {})
        gateway = pulumi.CustomResource("kubernetes:test:Gateway", "gateway", {})
        found = Serving(
            "serving",
            releases,
            lab="demo",
            owner="vision",
            namespace="demo",
            image=lambda _: image,
            store={
                consumer: S3Access(
                    "http://minio:9000",
                    "us-east-1",
                    pulumi.Output.from_input(f"storage-{consumer}"),
                    pulumi.Output.from_input("print"),
                )
                for consumer in consumers
            },
            secret=lambda name: pulumi.Output.secret(f"the secret {name}"),
            gateway=Gateway(
                "projectcontour",
                "lab",
                pulumi.Output.from_input("198.18.0.1"),
                [gateway],
            ),
            ready=[webhook],
        )
        pulumi.export("hosts", found.hosts)

    return deploy(program)


def named(lab: Lab, name: str) -> Declared:
    [found] = [d for d in lab.declared if d.name == name]
    return found


def test_releases_with_the_same_template_share_one_runtime() -> None:
    lab = serving(iris=release(v1=variant(1)), wine=release(v1=variant(2)))

    [runtime] = lab.all("ServingRuntime")
    assert {
        service.spec["predictor"]["model"]["runtime"]
        for service in lab.all("InferenceService")
    } == {runtime.metadata["name"]}


def test_a_new_image_is_another_runtime_and_never_an_edit_of_the_old_one() -> None:
    [old] = serving(iris=release(v1=variant(1))).all("ServingRuntime")
    lab = serving(image="images/lab:2", iris=release(v1=variant(1)))
    [new] = lab.all("ServingRuntime")

    assert old.name != new.name
    assert old.metadata["name"] != new.metadata["name"]


def test_a_runtime_outlives_every_service_that_uses_it() -> None:
    lab = serving(iris=release(v1=variant(1)))

    [runtime] = lab.all("ServingRuntime")
    assert runtime.name in named(lab, "serving-service-iris-v1").dependencies


def test_a_variant_gets_requests_once_it_can_answer_them() -> None:
    lab = serving(iris=release(v1=variant(1)))

    service = named(lab, "serving-service-iris-v1")
    waits = service.metadata["annotations"]["pulumi.com/waitFor"]
    assert waits == "condition=Ready"
    assert {service.name, "gateway"} <= named(lab, "serving-route-iris").dependencies


def test_the_first_model_waits_for_the_webhooks_and_not_for_the_gateway() -> None:
    lab = serving(iris=release(v1=variant(1)))

    [runtime] = lab.all("ServingRuntime")
    assert "webhook" in runtime.dependencies
    assert "gateway" not in runtime.dependencies
    assert "gateway" not in named(lab, "serving-service-iris-v1").dependencies


def test_a_new_version_is_a_new_service_beside_the_old_one() -> None:
    before = serving(iris=release(v1=variant(1)))
    after = serving(iris=release(v2=variant(2)))

    names = [lab.all("InferenceService")[0].metadata["name"] for lab in (before, after)]
    assert names == ["iris-v1", "iris-v2"]
    [old], [new] = before.all("HTTPRoute"), after.all("HTTPRoute")
    assert old.name == new.name


def test_routes_lead_to_the_services_that_kserve_makes() -> None:
    lab = serving(iris=release(v1=variant(1)))

    [route] = lab.all("HTTPRoute")
    [rule] = route.spec["rules"]
    assert [backend["name"] for backend in rule["backendRefs"]] == ["iris-v1-predictor"]
    [parent] = route.spec["parentRefs"]
    assert (parent["namespace"], parent["name"]) == ("projectcontour", "lab")
    assert route.spec["hostnames"] == [lab.exports["hosts"]["iris"]]


def test_predictors_find_the_store_s_keys_by_their_account() -> None:
    lab = serving(iris=release(v1=variant(1)))

    [account] = lab.all("ServiceAccount")
    [service] = lab.all("InferenceService")
    predictor = service.spec["predictor"]
    assert predictor["serviceAccountName"] == account.metadata["name"] == "models"
    assert account.inputs["secrets"] == [{"name": "storage-serving"}]


def test_a_lab_without_releases_has_an_account_and_nothing_else() -> None:
    lab = serving()

    assert [d.kind for d in lab.objects() if "test" not in d.type] == ["ServiceAccount"]


def external(key: str | None = "vendor") -> dict[str, Any]:
    endpoint = {"url": "https://api.example.com/score", "cost_per_call": 0.002}
    if key:
        endpoint["key"] = key
    return {"role": "candidate", "external": endpoint}


def test_an_external_variant_is_served_by_the_lab_s_own_server() -> None:
    lab = serving(iris=release(v1=variant(1), vendor=external()))

    service = named(lab, "serving-service-iris-vendor")
    [container] = service.spec["predictor"]["containers"]
    assert container["image"] == "images/lab:1"
    assert "--external" in container["args"]
    assert "--model_name=iris" in container["args"]
    assert "--served_by=iris-vendor" in container["args"]
    assert "{{" not in json.dumps(container)
    assert "model" not in service.spec["predictor"]


def test_an_endpoint_s_key_is_a_secret_that_only_its_server_gets() -> None:
    lab = serving(iris=release(v1=variant(1), vendor=external()))

    secret = lab.one("Secret", "external-vendor")
    assert secret.inputs["stringData"] == {"key": "the secret external-vendor"}
    assert "stringData" in secret.secrets
    predictor = named(lab, "serving-service-iris-vendor").spec["predictor"]
    variables = {each["name"]: each for each in predictor["containers"][0]["env"]}
    assert "vendor" not in variables["LAB_EXTERNAL"]["value"]
    reference = variables["LAB_EXTERNAL_KEY"]["valueFrom"]["secretKeyRef"]
    assert reference["name"] == secret.metadata["name"]
    assert "external-vendor" not in str(named(lab, "serving-service-iris-v1").spec)


def test_two_variants_with_one_key_share_its_secret() -> None:
    lab = serving(
        iris=release(v1=variant(1), vendor=external()),
        wine=release(v1=variant(1), vendor=external()),
    )

    assert len(lab.all("Secret")) == 1


def test_model_servers_may_keep_predictions_where_the_lab_does() -> None:
    without = serving(iris=release(v1=variant(1)))
    with_ = serving(iris=release(v1=variant(1)), consumers=("serving", "predictions"))

    [container] = with_.all("ServingRuntime")[0].spec["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "storage-predictions"}}]
    assert "envFrom" not in without.all("ServingRuntime")[0].spec["containers"][0]


def test_a_weight_is_a_change_of_the_route_and_of_nothing_else() -> None:
    def objects(percent: int) -> dict[str, Any]:
        two = release(
            v1={**variant(1), "traffic": 100 - percent},
            v2={**variant(2), "traffic": percent, "role": "candidate"},
        )
        return {each.name: each.inputs for each in serving(iris=two).objects()}

    before, after = objects(10), objects(25)

    assert {n for n in before if before[n] != after[n]} == {"serving-route-iris"}


def test_a_batch_that_is_due_at_set_times_is_a_cron_job_of_the_stable_variant() -> None:
    settings = release(v1=variant(1)).model_dump(exclude_none=True)
    batch = {
        "schedule": "0 3 * * *",
        "input": "s3://datasets/rows.parquet",
        "output": "s3://predictions/iris",
    }
    due = ReleaseConfig.model_validate({**settings, "batch": batch})

    [found] = serving(iris=due).all("CronJob")

    assert found.spec["schedule"] == "0 3 * * *"
    [worker] = found.spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert worker["image"] == "images/lab:1"
    assert "--variant=v1" in worker["args"]
