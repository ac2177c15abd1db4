from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

import model_templates
from labfactory.releases.planning import traps
from labfactory.releases.planning.traps import CONTAINER, FILE, READINESS, Trap
from stacks.schema import ReleaseConfig
from tests.harness import example, house, variant

Manifest = dict[str, Any]


def service(**predictor: Any) -> Manifest:
    """An InferenceService as the lab makes them, with another `predictor`."""
    settings = {"template": "mlflow", "variants": {"v1": variant(1)}}
    config = ReleaseConfig.model_validate(settings)
    found = model_templates.inference_service(
        "iris",
        config,
        "v1",
        runtime="lab-mlflow",
        service_account="models",
    )
    spec = {"predictor": {**found["spec"]["predictor"], **predictor}}
    return {**found, "spec": spec}


def annotated(**annotations: str) -> Manifest:
    found = service()
    metadata = found["metadata"]
    every = {**metadata["annotations"], **annotations}
    return {**found, "metadata": {**metadata, "annotations": every}}


def canary() -> Manifest:
    found = service()
    return {**found, "spec": {**found["spec"], "canary": [{"trafficPercent": 10}]}}


def with_autoscaler(least: int, most: int) -> Manifest:
    found = service(minReplicas=least, maxReplicas=most)
    found["metadata"]["annotations"].pop("serving.kserve.io/autoscalerClass")
    return found


def running(image: str = "images/lab:1", **container: Any) -> Manifest:
    """A Deployment with one container."""
    whole = {"name": "server", "image": image, **container}
    pod = {"template": {"spec": {"containers": [whole]}}}
    return {"metadata": {"name": "server"}, "spec": pod}


def job(image: str) -> Manifest:
    """A CronJob, whose pods are three levels deep, with an init container."""
    pod = {"initContainers": [{"name": "fetch", "image": image}], "containers": []}
    template = {"spec": {"template": {"spec": pod}}}
    return {"metadata": {"name": "nightly"}, "spec": {"jobTemplate": template}}


def mlflow(
    jobs: str | None = "false", *, uvloop: bool = True, workers: int | None = 1
) -> Manifest:
    """The tracking server, as the lab runs it unless said."""
    args = ["--host=0.0.0.0"]
    if workers:
        args.append(f"--workers={workers}")
    if uvloop:
        args.append("--uvicorn-opts=--loop uvloop")
    named = {"name": "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "value": jobs}
    return running(
        command=["python3", "-m", "mlflow", "server"],
        args=args,
        env=[named] if jobs else [],
    )


def found(kind: str, manifest: Manifest, **more: bool) -> list[str]:
    """Names of the traps that an object is in."""
    sentences = list(traps.found(kind, manifest, **more))
    return [
        name
        for name, trap in traps.load().items()
        if any(str(trap.source) in text for text in sentences)
    ]


SERVICE, DEPLOYMENT = "InferenceService", "Deployment"
KNATIVE = {"autoscaling.knative.dev/target": "10"}
OLD_MINIO = "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"
FIXED_MINIO = "registry:5000/minio/minio:RELEASE.2025-10-15T17-29-55Z"
PINNED = f"images/lab@sha256:{1:064x}"

CLOSED: list[tuple[str, str, Manifest]] = [
    ("kserve-canary-traffic", SERVICE, service(canaryTrafficPercent=10)),
    ("kserve-canary-traffic", SERVICE, service(canaryTrafficPercent=0)),
    ("kserve-canary-list", SERVICE, canary()),
    ("knative-metric", SERVICE, service(scaleMetric="rps")),
    ("knative-metric", SERVICE, service(scaleMetric="concurrency")),
    ("knative-metric", SERVICE, service(minReplicas=0)),
    ("knative-annotation", SERVICE, annotated(**KNATIVE)),
    ("knative-concurrency", SERVICE, service(containerConcurrency=1)),
    ("autoscaler-of-fixed-size", SERVICE, with_autoscaler(1, 1)),
    ("floating-tag", DEPLOYMENT, running("images/lab")),
    ("floating-tag", DEPLOYMENT, running("registry:5000/lab")),
    ("floating-tag", DEPLOYMENT, running("images/lab:latest")),
    ("floating-tag", DEPLOYMENT, running("images/lab:main")),
    ("floating-tag", "CronJob", job("images/lab:stable")),
    ("floating-tag", SERVICE, service(containers=[{"image": "images/lab:edge"}])),
    ("uvicorn-workers-without-uvloop", DEPLOYMENT, mlflow(uvloop=False, workers=2)),
    ("uvicorn-workers-without-uvloop", DEPLOYMENT, mlflow(uvloop=False, workers=None)),
    (
        "uvicorn-workers-without-uvloop",
        DEPLOYMENT,
        running(args=["uvicorn", "app:app", "--workers", "4"]),
    ),
    (
        "uvicorn-workers-without-uvloop",
        "ServingRuntime",
        {"spec": {"containers": [{"args": ["--model_name=iris", "--workers=2"]}]}},
    ),
    ("minio-before-the-last-fix", "StatefulSet", running(OLD_MINIO)),
    ("minio-before-the-last-fix", "StatefulSet", running(OLD_MINIO[8:])),
    ("mlflow-jobs", DEPLOYMENT, mlflow("true")),
    ("mlflow-jobs", DEPLOYMENT, mlflow(None)),
]

OPEN: list[tuple[str, str, Manifest]] = [
    ("kserve-canary-traffic", SERVICE, service()),
    ("kserve-canary-list", SERVICE, service()),
    ("knative-metric", SERVICE, service(scaleMetric="cpu", minReplicas=2)),
    ("knative-annotation", SERVICE, annotated(**{"prometheus.io/port": "8080"})),
    ("knative-concurrency", SERVICE, service()),
    ("autoscaler-of-fixed-size", SERVICE, service(minReplicas=2, maxReplicas=2)),
    ("autoscaler-of-fixed-size", SERVICE, with_autoscaler(1, 3)),
    ("floating-tag", DEPLOYMENT, running("registry:5000/lab:1.2")),
    ("floating-tag", DEPLOYMENT, running(PINNED)),
    ("floating-tag", "ConfigMap", running("images/lab:latest")),
    ("uvicorn-workers-without-uvloop", DEPLOYMENT, mlflow(workers=4)),
    ("uvicorn-workers-without-uvloop", DEPLOYMENT, mlflow(uvloop=False)),
    (
        "uvicorn-workers-without-uvloop",
        DEPLOYMENT,
        running(args=["celery", "--workers", "4"]),
    ),
    ("minio-before-the-last-fix", "StatefulSet", running(FIXED_MINIO)),
    ("minio-before-the-last-fix", "StatefulSet", running("localhost/lab/minio:0a1b")),
    ("mlflow-jobs", DEPLOYMENT, mlflow()),
]


@pytest.mark.parametrize(("name", "kind", "manifest"), CLOSED)
def test_what_is_known_to_go_wrong_is_found(
    name: str, kind: str, manifest: Manifest
) -> None:
    assert found(kind, manifest) == [name]


@pytest.mark.parametrize(("name", "kind", "manifest"), OPEN)
def test_what_only_looks_like_it_is_not(
    name: str, kind: str, manifest: Manifest
) -> None:
    assert name not in found(kind, manifest)


def test_replicas_are_an_autoscaler_s_where_it_owns_them() -> None:
    server = {"metadata": {"name": "api"}, "spec": {"replicas": 2}}
    [name] = found(DEPLOYMENT, server, autoscaled=True)

    assert name == "replicas-of-an-autoscaler"
    assert found(DEPLOYMENT, server) == []
    assert found(DEPLOYMENT, {**server, "spec": {}}, autoscaled=True) == []


def test_what_an_autoscaler_owns_can_be_told() -> None:
    target = {"spec": {"scaleTargetRef": {"kind": "StatefulSet", "name": "db"}}}

    assert traps.autoscaled("HorizontalPodAutoscaler", target) == "StatefulSet/db"
    assert traps.autoscaled(DEPLOYMENT, target) is None


def test_every_trap_has_an_example_that_is_in_it_and_one_that_is_not() -> None:
    elsewhere = {"not-ready", "replicas-of-an-autoscaler"}

    for examples in (CLOSED, OPEN):
        assert {name for name, _, _ in examples} | elsewhere == {*traps.load()}


def test_every_trap_says_why_who_says_so_and_the_way_out() -> None:
    for trap in traps.load().values():
        for text in (trap.versions, trap.because, trap.instead):
            assert text
            assert text[-1] not in ".;"
        assert trap.source.scheme == "https"
        assert trap.source.path
        assert len(trap.source.path) > 1


def test_every_trap_is_a_few_lines() -> None:
    rows = [row for row in FILE.read_text().split("\n\n") if not row.startswith("#")]

    assert len(rows) == len(traps.load())
    assert all(len(row.strip().splitlines()) <= 8 for row in rows)


def test_no_two_traps_have_the_same_source() -> None:
    sources = [str(trap.source) for trap in traps.load().values()]

    assert len({*sources}) == len(sources)


@pytest.mark.parametrize("kind", [CONTAINER, "Deployment"])
def test_a_trap_that_never_closes_is_none(kind: str) -> None:
    row = {
        "kind": kind,
        "versions": "all",
        "because": "it breaks",
        "source": "https://example.org/issues/1",
        "instead": "leave it",
    }

    with pytest.raises(ValidationError, match="needs `when`"):
        Trap.model_validate(row)
    assert not Trap.model_validate({**row, "kind": READINESS}).closes({})


def test_what_is_known_after_the_apply_only_is_not_judged() -> None:
    unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"

    assert found(DEPLOYMENT, {"metadata": {"name": "api"}, "spec": unknown}) == []
    assert found(DEPLOYMENT, running(unknown + ":1", args=[unknown])) == []
    assert found(SERVICE, {**service(), "spec": {"predictor": unknown}}) == []
    assert found(SERVICE, service(env=unknown, containers=unknown)) == []


def test_the_sentence_names_the_container_the_issue_and_the_way_out() -> None:
    [text] = traps.found(DEPLOYMENT, mlflow("true"))

    assert text.startswith("Deployment/server, container 'server': ")
    assert "GHSA-7qhf-v65m-g5f3" in text
    assert text.endswith('set MLFLOW_SERVER_ENABLE_JOB_EXECUTION to "false"')


def test_nothing_of_the_lab_s_own_is_in_a_trap() -> None:
    objects = house(example()).objects()

    assert {d.kind for d in objects} >= {"Deployment", "StatefulSet", "ServingRuntime"}
    assert [text for d in objects for text in traps.found(d.kind, d.inputs)] == []


@pytest.mark.parametrize("name", model_templates.names())
def test_the_lab_s_own_runtimes_are_in_no_trap(name: str) -> None:
    runtime = model_templates.serving_runtime(
        model_templates.load(name), image="images/lab:1"
    )

    assert found("ServingRuntime", runtime) == []
    assert found(SERVICE, service()) == []
