"""Rules of releases, and of versions that are known to go wrong."""

from __future__ import annotations

from typing import Any

import pytest

from policies.rules.lab import Lab, Resource
from tests.policy_cases import Case, case, deployed, good, holds, lab, predictor, thing

DIGEST = "labfactory.io/digest"
CARD = "labfactory.io/card"
SCALER = "serving.kserve.io/autoscalerClass"
FIXED = "RELEASE.2025-10-15T17-29-55Z"
UNPINNED = "iris-v1: its model is not pinned by a digest"
COLD = "releases.iris: takes requests to a candidate, with nothing warm to go back to"
OLD_MINIO = (
    "it: container 'main' runs a MinIO whose accounts escape their policies "
    "(CVE-2025-62506)"
)
JOBS = "it: container 'main' lets whoever reaches it run code (CVE-2026-0545)"
FREE = "iris-v1: nothing checks requests against a contract"


def annotated(**annotations: str) -> Lab:
    return lab(predictor(annotations=annotations))


def sized(least: int | None, most: int, **annotations: str) -> Lab:
    return lab(predictor(annotations=annotations, minReplicas=least, maxReplicas=most))


def release(**variants: tuple[str, Any]) -> dict[str, Any]:
    each = {
        n: {"role": role, "traffic": share} for n, (role, share) in variants.items()
    }
    return {"releases": {"iris": {"variants": each}}}


def served(settings: dict[str, Any], *replicas: int) -> Lab:
    services = (
        predictor(f"iris-v{number}", minReplicas=count)
        for number, count in enumerate(replicas, 1)
    )
    return lab(*services, settings=settings)


def runtime(name: str, **fields: Any) -> Resource:
    return thing("ServingRuntime", name, spec={"containers": [good(**fields)]})


GROWING = release(v1=("stable", 90), v2=("candidate", 10))
MLFLOW = {"command": ["mlflow"], "args": ["server", "--workers", "1"]}

CASES = [
    case("digest-pinned", "passes", annotated(**{DIGEST: "sha256:" + "a" * 64})),
    case("digest-pinned", "fails", annotated(), UNPINNED),
    case(
        "digest-pinned",
        "boundary: one sign less",
        annotated(**{DIGEST: "sha256:" + "a" * 63}),
        UNPINNED,
    ),
    case(
        "digest-pinned",
        "boundary: one sign more",
        annotated(**{DIGEST: "sha256:" + "a" * 65}),
        UNPINNED,
    ),
    case(
        "digest-pinned",
        "boundary: no model of the store",
        lab(predictor(model=None, containers=[good()])),
    ),
    case("card-present", "passes", annotated(**{CARD: "s3://mlflow/card.html"})),
    case("card-present", "fails", annotated(), "iris-v1: its model has no card"),
    case(
        "card-present",
        "boundary: an empty one",
        annotated(**{CARD: ""}),
        "iris-v1: its model has no card",
    ),
    case(
        "contract-present",
        "passes",
        lab(
            predictor(),
            runtime("lab-mlflow", command=["python3", "-m", "model_server"]),
        ),
    ),
    case(
        "contract-present",
        "fails",
        lab(predictor(), runtime("lab-mlflow", args=["--model_name=a"])),
        FREE,
    ),
    case(
        "contract-present",
        "boundary: another runtime's server",
        lab(
            predictor(), runtime("other", args=["model_server"]), runtime("lab-mlflow")
        ),
        FREE,
    ),
    case(
        "contract-present",
        "boundary: what fetches the model is no server",
        lab(
            predictor(),
            thing(
                "ClusterStorageContainer",
                "lab-mlflow",
                spec={"container": good(command=["model_server"])},
            ),
        ),
        FREE,
    ),
    case("weights", "passes", lab(settings=GROWING)),
    case(
        "weights",
        "fails",
        lab(settings=release(v1=("stable", 90))),
        "releases.iris: its variants get 90 per cent of the requests together",
    ),
    case(
        "weights",
        "boundary: one too many",
        lab(settings=release(v1=("stable", 100), v2=("shadow", 1))),
        "releases.iris: its variants get 101 per cent of the requests together",
    ),
    case(
        "weights",
        "boundary: traffic that is not said is none",
        lab(
            settings={
                "releases": {
                    "iris": {
                        "variants": {
                            "v1": {"traffic": 100},
                            "v2": {},
                            "v3": {"traffic": "many"},
                        }
                    }
                }
            }
        ),
    ),
    case("way-back-warm", "passes", served(GROWING, 1, 1)),
    case("way-back-warm", "fails", served(GROWING, 0, 1), COLD),
    case(
        "way-back-warm",
        "boundary: no candidate answers",
        served(release(v1=("stable", 100), v2=("candidate", 0)), 0, 1),
    ),
    case(
        "way-back-warm",
        "boundary: one per cent",
        served(release(v1=("stable", 99), v2=("candidate", 1)), 0, 1),
        COLD,
    ),
    case(
        "way-back-warm",
        "boundary: a previous one is warm",
        served(
            release(v1=("stable", 50), v2=("candidate", 50), v3=("previous", 0)),
            0,
            1,
            1,
        ),
    ),
    case(
        "way-back-warm",
        "boundary: only a shadow is warm",
        served(
            release(v1=("stable", 50), v2=("candidate", 50), v3=("shadow", 0)), 0, 1, 1
        ),
        COLD,
    ),
    case(
        "way-back-warm",
        "boundary: a shadow takes the rest",
        served(release(v1=("stable", 50), v2=("shadow", 50)), 0, 1),
    ),
    case(
        "way-back-warm",
        "boundary: it is not deployed at all",
        lab(settings=GROWING),
        COLD,
    ),
    case(
        "way-back-warm",
        "boundary: KServe's own number is one",
        lab(predictor("iris-v1"), settings=GROWING),
    ),
    case("kserve-traps", "passes", lab(predictor())),
    case(
        "kserve-traps",
        "fails",
        lab(predictor(canaryTrafficPercent=10)),
        "iris-v1: spec.predictor.canaryTrafficPercent does nothing without Knative",
    ),
    case(
        "kserve-traps",
        "boundary: of nothing at all",
        lab(predictor(canaryTrafficPercent=0, containerConcurrency=0)),
        "iris-v1: spec.predictor.canaryTrafficPercent does nothing without Knative",
        "iris-v1: spec.predictor.containerConcurrency does nothing without Knative",
    ),
    case(
        "kserve-traps",
        "boundary: the old list",
        lab(thing("InferenceService", spec={"canary": {}})),
        "it: spec.canary sends requests to unready pods",
    ),
    case("autoscaler-of-fixed-size", "passes", sized(1, 1, **{SCALER: "none"})),
    case(
        "autoscaler-of-fixed-size",
        "fails",
        sized(2, 2),
        "iris-v1: an autoscaler owns its pods, and may only say 2",
    ),
    case("autoscaler-of-fixed-size", "boundary: it has something to say", sized(1, 2)),
    case(
        "autoscaler-of-fixed-size",
        "boundary: another class",
        sized(1, 1, **{SCALER: "hpa"}),
        "iris-v1: an autoscaler owns its pods, and may only say 1",
    ),
    case("autoscaler-of-fixed-size", "boundary: no size at all", lab(predictor())),
    case("image-traps", "passes", deployed()),
    case(
        "image-traps",
        "fails",
        deployed(good(image="minio/minio:RELEASE.2024-01-01T00-00-00Z")),
        OLD_MINIO,
    ),
    case(
        "image-traps",
        "boundary: the release that mends it",
        deployed(good(image=f"quay.example.com/minio/minio:{FIXED}")),
    ),
    case(
        "image-traps",
        "boundary: somebody else's image of it",
        deployed(good(image="registry.example.com/labfactory/minio:1e435cfa3a7b")),
    ),
    case(
        "image-traps",
        "boundary: of no known version",
        deployed(good(image="quay.example.com/minio/minio@sha256:a")),
        OLD_MINIO,
    ),
    case(
        "image-traps",
        "boundary: another image of theirs",
        deployed(good(image="minio/mc:RELEASE.2024-01-01T00-00-00Z")),
    ),
    case(
        "image-traps",
        "boundary: a tracking server with jobs",
        deployed(good(**MLFLOW)),
        JOBS,
    ),
    case(
        "image-traps",
        "boundary: a tracking server without jobs",
        deployed(
            good(
                **MLFLOW,
                env=[{"name": "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "value": "false"}],
            )
        ),
    ),
    case(
        "image-traps",
        "boundary: a tracking server whose jobs are on",
        deployed(
            good(
                **MLFLOW,
                env=[{"name": "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "value": "true"}],
            )
        ),
        JOBS,
    ),
    case(
        "image-traps",
        "boundary: the client of a tracking server",
        deployed(good(command=["mlflow", "runs"])),
    ),
]


@pytest.mark.parametrize("each", CASES)
def test_the_rule_says_so(each: Case) -> None:
    holds(each)
