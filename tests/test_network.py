"""Who may speak to whom: the table, the policies that follow, and the lab as declared.

A few lines here judge as Kubernetes would: a connection passes when the policies of
both its ends allow it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pulumi
import pytest
import yaml

from components import flows, picture, rooms
from components.flows import FLOWS, PARTS
from components.guard import retraining
from components.network import Network, Ways, policies, ways
from labfactory.demo import training
from model_templates import batch_cron_job
from stacks.schema import LabConfig
from tests.harness import Lab, deploy, example, house

BACKUPS = {"store": {"kind": "minio", "capacity": "20Gi"}, "staging": "20Gi"}
ROOMS = (rooms.LAB, rooms.DRILL, rooms.COPIES, rooms.GATEWAY, rooms.KSERVE)
S3 = {
    "kind": "s3",
    "endpoint": "https://s3.example.com:9443",
    "region": "eu-west-1",
    "buckets": ["mlflow", "datasets", "predictions"],
}


class Pod(NamedTuple):
    """One end of a connection."""

    namespace: str
    labels: Mapping[str, str]


def everything(**sections: Any) -> dict[str, Any]:
    """A lab with every part: the example, backups, and labels."""
    settings = example(backups=BACKUPS, **sections)
    settings["releases"]["iris"]["guard"]["quality"] = {}
    return settings


def ways_of(settings: Mapping[str, Any]) -> Ways:
    return ways(LabConfig.model_validate(settings))


@pytest.fixture(scope="module")
def found() -> Ways:
    return ways_of(everything())


@pytest.fixture(scope="module")
def lab() -> Lab:
    return house(everything())


def pod_of(part: str, found: Ways) -> Pod:
    """A pod that a part's selector finds."""
    home, selector = PARTS[part]
    labels = dict(selector.get("matchLabels", {}))
    for each in selector.get("matchExpressions", []):
        labels[each["key"]] = "iris"
    return Pod(found.homes[home], labels)


def chosen(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    for each in selector.get("matchExpressions", []):
        assert each["operator"] == "Exists"
        if each["key"] not in labels:
            return False
    wanted: Mapping[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def policies_on(pod: Pod, found: Ways) -> list[dict[str, Any]]:
    return [
        policy["spec"]
        for room in ROOMS
        for policy in policies(room, found)
        if found.homes[room] == pod.namespace
        and chosen(policy["spec"]["podSelector"], pod.labels)
    ]


def fits(peers: list[dict[str, Any]], pod: Pod | None, home: str) -> bool:
    """Whether one of `peers`, of a policy in the namespace `home`, is about `pod`."""
    for peer in peers:
        namespace = peer.get("namespaceSelector")
        known = {"kubernetes.io/metadata.name": pod.namespace if pod else "?"}
        if pod is None or (namespace is None and pod.namespace != home):
            continue
        if namespace is not None and not chosen(namespace, known):
            continue
        if chosen(peer.get("podSelector", {}), pod.labels):
            return True
    return False


def passes(
    way: str, pod: Pod, other: Pod | None, port: int, found: Ways, kind: str = "TCP"
) -> bool:
    """Whether the policies of `pod` let it speak to `other`; None is no pod."""
    limits = [p for p in policies_on(pod, found) if way.title() in p["policyTypes"]]
    end = {"ingress": "from", "egress": "to"}[way]
    return not limits or any(
        (end not in rule or fits(rule[end], other, pod.namespace))
        and {"protocol": kind, "port": port} in _each_port(rule["ports"], port)
        for limit in limits
        for rule in limit[way]
    )


def _each_port(ports: list[dict[str, Any]], port: int) -> list[dict[str, Any]]:
    return [{"port": port, **each} for each in ports]


def connects(source: Pod, target: Pod, port: int, found: Ways) -> bool:
    return passes("egress", source, target, port, found) and passes(
        "ingress", target, source, port, found
    )


INSIDE = [flow for flow in FLOWS if not {flow.who, flow.whom} & {*flows.OUTSIDE}]


@pytest.mark.parametrize(
    "flow", INSIDE, ids=lambda flow: f"{flow.who} to {flow.whom} {flow.ports[0]}"
)
def test_what_the_table_names_passes(flow: flows.Flow, found: Ways) -> None:
    source, target = pod_of(flow.who, found), pod_of(flow.whom, found)

    assert all(connects(source, target, port, found) for port in flow.ports)


def test_what_the_table_does_not_name_is_refused(found: Ways) -> None:
    # What comes from the platform is not limited there, and another gateway than ours
    # may label its pods otherwise: its namespace counts.
    limited = [part for part in PARTS if PARTS[part].room not in rooms.PLATFORM]
    named = {
        (flow.who, flow.whom, port)
        for flow in INSIDE
        for port in flow.ports
        if flow.who in limited
    }

    passing = {
        (who, whom, port)
        for who in limited
        for whom in PARTS
        for port in {1, *(port for flow in flows.into(whom) for port in flow.ports)}
        if connects(pod_of(who, found), pod_of(whom, found), port, found)
    }

    assert passing == named


@pytest.mark.parametrize("target", ["postgres", "predictors", "guard", "feedback"])
def test_a_pod_of_somebody_else_reaches_nothing_inside(
    found: Ways, target: str
) -> None:
    stranger = Pod("somewhere", {"app": "prometheus", "component": "predictor"})
    ports = {port for flow in flows.into(target) for port in flow.ports}

    assert not any(
        connects(stranger, pod_of(target, found), port, found) for port in ports
    )


def test_what_is_meant_for_people_can_be_reached_from_outside(found: Ways) -> None:
    for flow in FLOWS:
        if flow.who == flows.ANYBODY:
            target = pod_of(flow.whom, found)
            assert all(
                passes("ingress", target, None, port, found) for port in flow.ports
            )
    assert not passes("ingress", pod_of("postgres", found), None, 5432, found)


@pytest.mark.parametrize("part", [p for p in PARTS if PARTS[p].room in ROOMS[:3]])
def test_only_those_who_need_it_reach_the_api_server(found: Ways, part: str) -> None:
    needs = {flow.who for flow in flows.into(flows.API)}

    reached = passes("egress", pod_of(part, found), None, 6443, found)

    assert reached == (part in needs)


@pytest.mark.parametrize("room", [rooms.LAB, rooms.COPIES])
@pytest.mark.parametrize("kind", ["TCP", "UDP"])
def test_every_pod_may_ask_the_name_server(found: Ways, room: str, kind: str) -> None:
    pod = Pod(found.homes[room], {})

    assert passes("egress", pod, None, 53, found, kind)
    assert not passes("egress", pod, None, 443, found)


def test_each_namespace_of_the_lab_denies_by_default(lab: Lab, found: Ways) -> None:
    ours = {each.metadata["name"] for each in lab.all("Namespace")}
    room_of = {home: room for room, home in found.homes.items()}

    for namespace in ours:
        [policy] = [
            each["spec"]
            for each in policies(room_of[namespace], found)
            if each["metadata"]["name"] == "default-deny"
        ]
        assert policy["podSelector"] == {}
        assert policy["ingress"] == policy.get("egress", []) == []
    assert {"example", "projectcontour", "kserve"} <= ours


def pods(lab: Lab) -> Iterator[tuple[str, Pod, list[int]]]:
    """Name, labels and ports of every pod that the house declares."""
    for workload, metadata, spec in lab.pods():
        yield (
            workload.name,
            Pod(workload.metadata["namespace"], metadata["labels"]),
            [
                port["containerPort"]
                for container in spec["containers"]
                for port in container.get("ports", [])
            ],
        )
    for job in lab.all("CronJob"):
        template = job.spec["jobTemplate"]["spec"]["template"]
        home = job.metadata["namespace"]
        yield job.name, Pod(home, template["metadata"]["labels"]), []
    for runtime in lab.all("ServingRuntime"):
        [container] = runtime.spec["containers"]
        yield (
            runtime.name,
            Pod(runtime.metadata["namespace"], {"component": "predictor"}),
            [port["containerPort"] for port in container["ports"]],
        )


def part_of(pod: Pod, found: Ways) -> list[str]:
    return [
        name
        for name, part in PARTS.items()
        if found.homes[part.room] == pod.namespace and chosen(part.selector, pod.labels)
    ]


def test_every_pod_of_the_house_is_one_part_of_the_table(lab: Lab, found: Ways) -> None:
    parts = {name: part_of(pod, found) for name, pod, _ in pods(lab)}

    assert {name: each for name, each in parts.items() if len(each) != 1} == {}
    assert {each for [each] in parts.values()} <= {*found.parts}


def test_every_flow_ends_at_a_port_that_its_pods_have(lab: Lab, found: Ways) -> None:
    there = {part_of(pod, found)[0]: ports for _, pod, ports in pods(lab)}

    wrong = [
        flow
        for flow in FLOWS
        if flow.whom in there and not {*flow.ports} <= {*there[flow.whom]}
    ]
    assert wrong == []
    assert {"predictors", "envoy", "kserve", "mlflow", "postgres"} <= {*there}


def test_somebody_may_reach_every_service(lab: Lab, found: Ways) -> None:
    """Else the Service, or the table, is wrong."""
    for service in lab.all("Service"):
        pod = Pod(service.metadata["namespace"], service.spec["selector"])
        [part] = part_of(pod, found)
        ports = {port for flow in flows.into(part) for port in flow.ports}

        for port in service.spec["ports"]:
            target = port.get("targetPort", port["port"])
            assert target in ports | {"webhook-server"}, service.name


def test_prometheus_may_reach_everything_that_it_measures(
    lab: Lab, found: Ways
) -> None:
    settings = yaml.safe_load(
        lab.one("ConfigMap", "prometheus").inputs["data"]["prometheus.yaml"]
    )
    watcher = pod_of("prometheus", found)
    targets = [
        target
        for job in settings["scrape_configs"]
        for each in job.get("static_configs", [])
        for target in each["targets"]
        if not target.startswith("localhost")
    ]

    for target in targets:
        name, _, port = target.partition(":")
        assert connects(watcher, pod_of(name, found), int(port), found), target
    assert len(targets) > 5


def test_jobs_that_no_program_declares_are_found_too(found: Ways) -> None:
    release = LabConfig.model_validate(
        example(
            releases={
                "iris": {
                    **example()["releases"]["iris"],
                    "serve": ["api", "batch"],
                    "batch": {
                        "schedule": "0 3 * * *",
                        "input": "s3://datasets/iris",
                        "output": "s3://predictions/iris",
                    },
                }
            }
        )
    ).releases["iris"]
    jobs = {
        "batches": batch_cron_job("iris", release, image="", owner="team")["spec"][
            "jobTemplate"
        ],
        "trainings": training.job("iris", "iris", "a", image="", bucket="", owner=""),
        "retrainings": retraining("iris", (), image="", bucket="", owner="")["spec"][
            "jobTemplate"
        ],
    }

    for part, job in jobs.items():
        labels = job["spec"]["template"]["metadata"]["labels"]
        assert part_of(Pod("example", labels), found) == [part]


def test_a_store_of_somebody_else_s_is_reached_by_its_port() -> None:
    store = {**S3, "bucket": "copies", "endpoint": "https://copies.example.com"}
    del store["buckets"]
    settings = everything(storage=S3) | {"backups": {"store": store, "staging": "1Gi"}}

    found = ways_of(settings)

    assert found.stores == {"minio": 9443, "second store": 443}
    assert not {"minio", "second store"} & {*found.parts}
    for part in ("mlflow", "predictors", "provisioning", "keeper"):
        assert passes("egress", pod_of(part, found), None, 9443, found)
    assert passes("egress", pod_of("drills", found), None, 443, found)
    assert not passes("egress", pod_of("postgres", found), None, 9443, found)


@pytest.mark.parametrize(
    ("url", "port", "inside"),
    [
        ("https://api.example.com/predict", 443, False),
        ("https://api.example.com:8443/predict", 8443, False),
        ("http://scorer.shop.svc:80/predict", 5555, True),
    ],
    ids=["https", "another port", "in the cluster"],
)
def test_a_predictor_reaches_the_endpoints_of_the_settings(
    url: str, port: int, inside: bool
) -> None:
    settings = everything()
    before = ways_of(settings)
    settings["releases"]["iris"]["variants"]["acme"] = {
        "external": {"url": url, "cost_per_call": 0},
        "role": "candidate",
    }
    after = ways_of(settings)
    target = Pod("shop", {"app": "scorer"}) if inside else None

    for found, expected in ((before, False), (after, True)):
        predictor = pod_of("predictors", found)
        assert passes("egress", predictor, target, port, found) is expected
        assert not passes("egress", predictor, None, 25, found)


@pytest.mark.parametrize(
    ("receiver", "ports"),
    [
        ({"kind": "webhook", "url": "https://a.example:8443/lab"}, {8443}),
        ({"kind": "slack", "channel": "#lab"}, {443}),
        (
            {
                "kind": "email",
                "to": "a@b.example",
                "sender": "c@b.example",
                "server": "b.example:587",
            },
            {587},
        ),
        ({"kind": "webhook"}, {443, 587, 8443}),
    ],
    ids=["webhook", "slack", "email", "a secret address"],
)
def test_alerts_reach_those_who_hear_of_them(
    receiver: dict[str, str], ports: set[int]
) -> None:
    found = ways_of(everything(monitoring={"receivers": {"oncall": receiver}}))
    sender = pod_of("alertmanager", found)

    reached = {
        port for port in (443, 587, 8443) if passes("egress", sender, None, port, found)
    }

    assert reached == ports


def test_a_gateway_that_is_there_already_reaches_the_models() -> None:
    shared = {"kind": "shared", "gateway": "edge/main"}
    found = ways_of(everything(platform=shared))
    proxy = Pod("edge", {"app.kubernetes.io/name": "envoy"})
    watcher = pod_of("prometheus", found)

    assert connects(proxy, pod_of("predictors", found), 8080, found)
    assert passes("egress", watcher, proxy, 8002, found)
    assert not {"envoy", "contour", "kserve"} & {*found.parts}


def test_a_lab_of_little_has_policies_for_little() -> None:
    needed = LabConfig.model_fields.keys() - {"backups", "monitoring", "guard"}
    needed -= {"agreements", "predictions", "releases"}
    settings = {key: value for key, value in example().items() if key in needed}

    found = policies(rooms.LAB, ways_of(settings))

    assert [each["metadata"]["name"] for each in found] == [
        "default-deny",
        "dns",
        "predictors",
        "trainings",
        "mlflow",
        "postgres",
        "minio",
        "provisioning",
    ]
    assert "prometheus" not in json.dumps(found)


def test_the_policies_are_declared_in_the_namespaces_that_are_the_lab_s(
    found: Ways,
) -> None:
    def program() -> None:
        namespaces = {
            room: pulumi.Output.from_input(found.homes[room])
            for room in (rooms.LAB, rooms.DRILL, rooms.COPIES)
        }
        Network("network", found, namespaces=namespaces)

    declared = deploy(program).all("NetworkPolicy")

    assert {each.metadata["namespace"] for each in declared} == {
        "example",
        "example-drill",
        "example-backups",
    }
    assert len(declared) == len({each.name for each in declared}) == 23
    assert {each.type for each in declared} == {
        "kubernetes:networking.k8s.io/v1:NetworkPolicy"
    }


def test_every_part_is_somebody_in_the_table() -> None:
    ends = {end for flow in FLOWS for end in (flow.who, flow.whom)}

    assert ends == {*PARTS, *flows.OUTSIDE}
    assert len({flow[:3] for flow in FLOWS}) == len(FLOWS)


def test_the_picture_is_the_table() -> None:
    assert picture.FILE.read_text() == picture.drawn(), (
        "run `python -m components.picture` to draw docs/network.svg anew"
    )


def test_the_picture_has_every_part_and_every_flow() -> None:
    drawn = picture.drawn()

    assert drawn.count('class="way"') == len(FLOWS)
    heads = re.findall(r'class="head"[^>]*>([^<]+)<', drawn)
    assert {*PARTS, *flows.OUTSIDE} <= {*heads}


def test_no_words_of_the_picture_leave_their_place() -> None:
    for flow in FLOWS:
        letters = len(flow.why) + len(", ".join(map(str, flow.ports)))
        assert letters * 6 < picture.ARROW - 24, flow.why
