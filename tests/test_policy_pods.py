"""Rules of pods."""

from __future__ import annotations

import pytest

from tests.policy_cases import (
    Case,
    case,
    deployed,
    good,
    holds,
    lab,
    predictor,
    secured,
    spec,
    thing,
    workload,
)

OWN_SECCOMP = {"seccompProfile": {"type": "Localhost"}}
NOT_READY = "it: container 'main' listens and does not say when it is ready"
NOT_LIVE = "it: container 'main' is not started again when it hangs"
ROOT = "it: container 'main' may run as root"
TOKEN = "it: its pods get the token of an account that is not their own"
FLOATS = "it: container 'main' runs an image of no fixed version "


def image(name: str):  # type: ignore[no-untyped-def]
    return deployed(good(image=name))


def without(key: str) -> dict[str, object]:
    return {name: value for name, value in good().items() if name != key}


def resources(**which: object) -> dict[str, object]:
    return good(resources={**good()["resources"], **which})


def runtime(container: dict[str, object], kind: str = "ServingRuntime"):  # type: ignore[no-untyped-def]
    return lab(thing(kind, spec={"containers": [container]}))


CASES = [
    case("images-pinned", "passes", image("lab:1.2")),
    case("images-pinned", "fails", image("lab:latest"), FLOATS + "(lab:latest)"),
    case(
        "images-pinned",
        "boundary: the port of a registry is no tag",
        image("registry.example.com:5000/lab"),
        FLOATS + "(registry.example.com:5000/lab)",
    ),
    case("images-pinned", "boundary: a digest", image("lab@sha256:" + "0" * 64)),
    case(
        "images-pinned",
        "boundary: a digest of another kind",
        image("lab@md5:1"),
        FLOATS + "(lab@md5:1)",
    ),
    case(
        "images-pinned", "boundary: no image is known yet", deployed(without("image"))
    ),
    case(
        "images-pinned",
        "boundary: the containers of every kind",
        lab(
            *(
                workload(kind, spec(good(image="lab")), kind)
                for kind in ("Pod", "StatefulSet", "DaemonSet", "Job", "CronJob")
            ),
            thing(
                "ServingRuntime", "runtime", spec={"containers": [good(image="lab")]}
            ),
            thing(
                "ClusterStorageContainer",
                "storage",
                spec={"container": good(image="lab")},
            ),
            predictor("transformed", containers=[good(image="lab")]),
        ),
        *(
            f"{name}: container 'main' runs an image of no fixed version (lab)"
            for name in (
                "Pod",
                "StatefulSet",
                "DaemonSet",
                "Job",
                "CronJob",
                "transformed",
                "runtime",
                "storage",
            )
        ),
    ),
    case(
        "images-pinned",
        "boundary: a container that starts first",
        deployed(good(), initContainers=[good(name="first", image="lab:main")]),
        "it: container 'first' runs an image of no fixed version (lab:main)",
    ),
    case("no-root", "passes", deployed()),
    case("no-root", "fails", deployed(securityContext={}), ROOT),
    case(
        "no-root",
        "boundary: the container says otherwise",
        deployed(secured(runAsUser=0)),
        ROOT,
    ),
    case(
        "no-root",
        "boundary: the container says so itself",
        deployed(secured(runAsNonRoot=True), securityContext={}),
    ),
    case(
        "no-root", "boundary: only a user", deployed(securityContext={"runAsUser": 1})
    ),
    case("no-privileges", "passes", deployed()),
    case(
        "no-privileges",
        "fails",
        deployed(good(securityContext={})),
        "it: container 'main' may get more rights than it starts with, "
        "keeps capabilities",
    ),
    case(
        "no-privileges",
        "boundary: one of four",
        deployed(secured(capabilities={"drop": ["ALL"], "add": ["NET_RAW"]})),
        "it: container 'main' adds capabilities",
    ),
    case(
        "no-privileges",
        "boundary: privileged",
        deployed(secured(privileged=True)),
        "it: container 'main' is privileged",
    ),
    case(
        "no-privileges",
        "boundary: some capabilities",
        deployed(secured(capabilities={"drop": ["NET_RAW"]})),
        "it: container 'main' keeps capabilities",
    ),
    case("read-only-root", "passes", deployed()),
    case(
        "read-only-root",
        "fails",
        deployed(secured(readOnlyRootFilesystem=False)),
        "it: container 'main' can change its own files",
    ),
    case(
        "read-only-root",
        "boundary: nothing said",
        deployed(good(securityContext={})),
        "it: container 'main' can change its own files",
    ),
    case("seccomp", "passes", deployed()),
    case(
        "seccomp",
        "fails",
        deployed(securityContext={}),
        "it: its pods may make any system call",
    ),
    case(
        "seccomp",
        "boundary: each container says it",
        deployed(secured(**OWN_SECCOMP), securityContext={}),
    ),
    case(
        "seccomp",
        "boundary: one container of two says it",
        deployed(secured(**OWN_SECCOMP), good(), securityContext={}),
        "it: its pods may make any system call",
    ),
    case(
        "seccomp",
        "boundary: a predictor without containers",
        lab(predictor(securityContext={"seccompProfile": {"type": "Unconfined"}})),
        "iris-v1: its pods may make any system call",
    ),
    case("requests", "passes", deployed()),
    case(
        "requests",
        "fails",
        deployed(resources(requests={})),
        "it: container 'main' reserves no cpu and no memory",
    ),
    case(
        "requests",
        "boundary: one of two",
        deployed(resources(requests={"cpu": 1})),
        "it: container 'main' reserves no memory",
    ),
    case(
        "requests",
        "boundary: a runtime leaves it to its releases",
        runtime(without("resources")),
    ),
    case(
        "requests",
        "boundary: a model",
        lab(predictor(model={"runtime": "r"})),
        "iris-v1: container 'kserve-container' reserves no cpu and no memory",
    ),
    case(
        "requests",
        "boundary: a predictor of containers",
        lab(predictor(model=None, containers=[good()])),
    ),
    case("limits", "passes", deployed()),
    case(
        "limits",
        "fails",
        deployed(resources(limits={})),
        "it: container 'main' has a limit of no cpu and no memory",
    ),
    case(
        "limits",
        "boundary: one of two",
        deployed(resources(limits={"memory": 1})),
        "it: container 'main' has a limit of no cpu",
    ),
    case("readiness-probe", "passes", deployed()),
    case("readiness-probe", "fails", deployed(without("readinessProbe")), NOT_READY),
    case(
        "readiness-probe",
        "boundary: it does not listen",
        deployed(good(readinessProbe=None, ports=[])),
    ),
    case(
        "readiness-probe",
        "boundary: it ends",
        lab(
            workload("Job", spec(without("readinessProbe"))),
            workload("CronJob", spec(without("readinessProbe"))),
        ),
    ),
    case(
        "readiness-probe",
        "boundary: it only starts first",
        deployed(good(), initContainers=[without("readinessProbe")]),
    ),
    case(
        "readiness-probe",
        "boundary: it starts first and stays",
        deployed(
            good(),
            initContainers=[{**without("readinessProbe"), "restartPolicy": "Always"}],
        ),
        NOT_READY,
    ),
    case(
        "readiness-probe",
        "boundary: the other kinds that last",
        lab(
            workload("StatefulSet", spec(without("readinessProbe")), "it"),
            workload("Pod", spec(without("readinessProbe")), "it"),
            predictor("it", containers=[without("readinessProbe")]),
        ),
        NOT_READY,
        NOT_READY,
        NOT_READY,
    ),
    case("liveness-probe", "passes", deployed()),
    case("liveness-probe", "fails", deployed(without("livenessProbe")), NOT_LIVE),
    case(
        "liveness-probe",
        "boundary: a runtime",
        runtime(without("livenessProbe"), "ClusterServingRuntime"),
        NOT_LIVE,
    ),
    case(
        "liveness-probe",
        "boundary: what fetches a model ends",
        lab(
            thing(
                "ClusterStorageContainer", spec={"container": without("livenessProbe")}
            )
        ),
    ),
    case("host-namespaces", "passes", deployed(hostNetwork=False)),
    case(
        "host-namespaces",
        "fails",
        deployed(hostNetwork=True, hostPID=True),
        "it: its pods share the node's own (hostNetwork, hostPID)",
    ),
    case(
        "host-namespaces",
        "boundary: a port alone",
        deployed(good(ports=[{"containerPort": 1}, {"hostPort": 80}])),
        "it: its pods share the node's own (hostPort)",
    ),
    case(
        "host-namespaces",
        "boundary: shared memory",
        deployed(hostIPC=True),
        "it: its pods share the node's own (hostIPC)",
    ),
    case("host-paths", "passes", deployed(volumes=[{"name": "a", "emptyDir": {}}])),
    case(
        "host-paths",
        "fails",
        deployed(volumes=[{"name": "a", "hostPath": {}}]),
        "it: volume 'a' is a folder of the node",
    ),
    case(
        "host-paths",
        "boundary: a runtime's second volume",
        lab(
            thing(
                "ServingRuntime", spec={"volumes": [{"emptyDir": {}}, {"hostPath": {}}]}
            )
        ),
        "it: volume '?' is a folder of the node",
    ),
    case("account-token", "passes", deployed()),
    case("account-token", "fails", deployed(automountServiceAccountToken=None), TOKEN),
    case(
        "account-token",
        "boundary: an account of its own",
        deployed(automountServiceAccountToken=True, serviceAccountName="guard"),
    ),
    case(
        "account-token",
        "boundary: everybody's account by name",
        deployed(automountServiceAccountToken=True, serviceAccountName="default"),
        TOKEN,
    ),
    case("graceful-stop", "passes", runtime(good())),
    case(
        "graceful-stop",
        "fails",
        runtime(without("lifecycle")),
        "it: container 'main' stops while requests are on their way",
    ),
    case(
        "graceful-stop",
        "boundary: only predictors answer requests",
        lab(
            workload("Deployment", spec(without("lifecycle"))),
            thing("ClusterStorageContainer", spec={"container": without("lifecycle")}),
        ),
    ),
    case(
        "graceful-stop",
        "boundary: another step of its life",
        runtime(good(lifecycle={"postStart": {}})),
        "it: container 'main' stops while requests are on their way",
    ),
]


@pytest.mark.parametrize("each", CASES)
def test_the_rule_says_so(each: Case) -> None:
    holds(each)
