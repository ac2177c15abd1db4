"""Templates: what a release becomes in Kubernetes, and what an edit of it touches."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

import model_templates
from model_templates import manifests
from model_templates.manifests import CARD, DIGEST
from model_templates.routes import RELEASE
from model_templates.template import _ANY
from stacks.schema import ReleaseConfig

IMAGE = "localhost/labfactory/lab:0123456789ab"
NAMES = model_templates.names()


def release(**changes: Any) -> ReleaseConfig:
    settings = {
        "template": "mlflow",
        "replicas": 2,
        "variants": {
            "v3": {
                "version": 3,
                "artifact": "s3://mlflow/1/models/m-1/artifacts",
                "digest": f"sha256:{'a' * 64}",
                "role": "stable",
                "traffic": 100,
            }
        },
    }
    return ReleaseConfig.model_validate(settings | changes)


def service(of: ReleaseConfig | None = None) -> dict[str, Any]:
    of = of or release()
    [name] = of.variants
    return model_templates.inference_service(
        "iris",
        of,
        name,
        runtime="lab-mlflow-1",
        service_account="models",
    )


def route(of: ReleaseConfig | None = None) -> dict[str, Any]:
    return model_templates.http_route(
        "iris", of or release(), lab="demo", gateway="projectcontour/lab"
    )


def runtime(name: str = "mlflow", image: str = IMAGE) -> dict[str, Any]:
    return model_templates.serving_runtime(model_templates.load(name), image=image)


def container(name: str = "mlflow") -> dict[str, Any]:
    [found] = runtime(name)["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_kserves_own_servers_are_templates_beside_the_labs() -> None:
    assert NAMES == ["huggingface", "mlflow", "sklearn", "xgboost"]


def test_an_unknown_template_says_which_ones_exist() -> None:
    with pytest.raises(LookupError, match=r"'mflow'; there is .*mlflow"):
        model_templates.load("mflow")


def test_a_template_is_closed() -> None:
    template = model_templates.load("mlflow").model_dump()

    with pytest.raises(ValidationError, match="argz"):
        _ANY.validate_python({**template, "argz": []})


@pytest.mark.parametrize("name", NAMES)
def test_every_server_passes_restricted_pod_security(name: str) -> None:
    security = container(name)["securityContext"]

    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["runAsNonRoot"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}


def test_a_predictors_pod_passes_restricted_pod_security() -> None:
    predictor = service()["spec"]["predictor"]

    assert predictor["automountServiceAccountToken"] is False
    assert predictor["securityContext"]["runAsUser"] > 0
    assert predictor["securityContext"]["runAsNonRoot"] is True
    assert predictor["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("name", NAMES)
def test_every_server_is_probed_and_has_somewhere_to_write(name: str) -> None:
    found = container(name)

    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= found.keys()
    assert found["readinessProbe"]["periodSeconds"] == 1
    assert found["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert [volume["name"] for volume in runtime(name)["spec"]["volumes"]] == ["tmp"]


@pytest.mark.parametrize("name", NAMES)
def test_a_stopping_server_answers_until_no_proxy_asks_it(name: str) -> None:
    pause = container(name)["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert pause == 5
    assert service()["spec"]["predictor"]["terminationGracePeriodSeconds"] > pause + 30


@pytest.mark.parametrize("name", NAMES)
def test_every_image_is_pinned(name: str) -> None:
    image = container(name)["image"]

    assert ":" in image
    assert not image.endswith(":latest")


@pytest.mark.parametrize("name", NAMES)
def test_the_label_decides_the_models_url(name: str) -> None:
    found = container(name)

    # Backquotes: KServe writes the container as JSON before it fills in the braces.
    label = "{{index .Labels `labfactory.io/release`}}"
    assert f"--model_name={label}" in found["args"]
    assert found["readinessProbe"]["httpGet"]["path"] == f"/v1/models/{label}"
    assert '"' not in "".join(found["args"])
    assert service()["metadata"]["labels"] == {RELEASE: "iris"}


def test_the_server_gets_the_digest_that_the_settings_say() -> None:
    annotation = f"--digest={{{{index .Annotations `{DIGEST}`}}}}"

    assert annotation in container()["args"]
    assert service()["metadata"]["annotations"][DIGEST] == f"sha256:{'a' * 64}"


def test_a_variant_links_its_card() -> None:
    annotations = service()["metadata"]["annotations"]

    assert annotations[CARD] == "s3://mlflow/1/models/m-1/card.html"


def test_a_runtime_is_named_by_its_content() -> None:
    mlflow = model_templates.load("mlflow")
    edited = mlflow.model_copy(update={"env": {**mlflow.env, "OMP_NUM_THREADS": "2"}})

    def name(template: model_templates.Template, image: str, logs: bool = False) -> str:
        found = model_templates.serving_runtime(template, image=image, logs=logs)
        return str(found["metadata"]["name"])

    assert name(mlflow, IMAGE).startswith("lab-mlflow-")
    assert name(mlflow, IMAGE) == name(mlflow.model_copy(), IMAGE)
    assert name(edited, IMAGE) != name(mlflow, IMAGE)
    assert name(mlflow, f"{IMAGE}0") != name(mlflow, IMAGE)
    assert name(mlflow, IMAGE, logs=True) != name(mlflow, IMAGE)


@pytest.mark.parametrize("name", NAMES)
def test_kserve_may_not_choose_a_runtime_by_itself(name: str) -> None:
    formats = runtime(name)["spec"]["supportedModelFormats"]

    assert [found["autoSelect"] for found in formats] == [False]


def test_kserve_is_told_not_to_make_an_autoscaler_or_a_knative_service() -> None:
    annotations = service()["metadata"]["annotations"]

    assert annotations["serving.kserve.io/autoscalerClass"] == "none"
    assert annotations["serving.kserve.io/deploymentMode"] == "Standard"


def test_a_rollout_starts_one_new_pod_at_a_time_and_stops_none_before() -> None:
    predictor = service()["spec"]["predictor"]

    assert predictor["minReplicas"] == predictor["maxReplicas"] == 2
    assert predictor["deploymentStrategy"]["rollingUpdate"] == {
        "maxSurge": "50%",
        "maxUnavailable": "0%",
    }


def test_pulumi_waits_until_the_variant_is_ready() -> None:
    annotations = service()["metadata"]["annotations"]

    assert annotations["pulumi.com/waitFor"] == "condition=Ready"


def test_traffic_and_role_do_not_restart_a_variant() -> None:
    [(name, variant)] = release().variants.items()
    less = variant.model_copy(update={"traffic": 40})

    assert service(release(variants={name: less.model_dump()})) == service()


def test_a_predictor_gets_the_resources_of_its_release() -> None:
    wanted = {
        "requests": {"cpu": "50m", "memory": "300Mi"},
        "limits": {"cpu": "1500m", "memory": "1Gi"},
    }

    found = service(release(resources=wanted))

    assert found["spec"]["predictor"]["model"]["resources"] == wanted


def test_the_route_leads_the_releases_host_to_its_variant() -> None:
    spec = route()["spec"]

    assert spec["hostnames"] == ["iris.demo.lab.internal"]
    [rule] = spec["rules"]
    [backend] = rule["backendRefs"]
    assert (backend["name"], backend["port"]) == ("iris-v3-predictor", 80)
    assert backend["weight"] == 100
    assert service()["metadata"]["name"] == "iris-v3"


def test_the_route_says_what_the_api_server_would_fill_in() -> None:
    spec = route()["spec"]

    [parent] = spec["parentRefs"]
    assert parent == {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "namespace": "projectcontour",
        "name": "lab",
    }
    [rule] = spec["rules"]
    assert all(m["path"]["type"] == "PathPrefix" for m in rule["matches"])
    assert all(
        (ref["group"], ref["kind"]) == ("", "Service") for ref in rule["backendRefs"]
    )


def test_weights_that_somebody_patched_can_be_written_again() -> None:
    assert route()["metadata"]["annotations"]["pulumi.com/patchForce"] == "true"


@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_not_for_callers(name: str) -> None:
    [rule] = route(release(template=name))["spec"]["rules"]
    paths = [match["path"]["value"] for match in rule["matches"]]

    assert "/v1" in paths
    assert not any("/metrics".startswith(path) for path in paths)


@pytest.mark.parametrize(
    ("declared", "written_back"),
    [
        ("2000m", "2"),
        ("10000m", "10"),
        ("500m", "500m"),
        ("1500m", "1500m"),
        ("1024Mi", "1Gi"),
        ("1536Mi", "1536Mi"),
        ("1048576Mi", "1Ti"),
        ("2Gi", "2Gi"),
        ("1024Ti", "1024Ti"),
    ],
)
def test_an_amount_is_declared_as_the_cluster_writes_it_back(
    declared: str, written_back: str
) -> None:
    assert manifests.canonical({"x": declared}) == {"x": written_back}
