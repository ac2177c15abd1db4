from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from cryptography import x509

from components import (
    alertmanager,
    alerts,
    credentials,
    minio,
    postgres,
    prometheus,
    scrapes,
)
from components.monitoring import Monitoring
from components.storage import S3Access
from components.tracking import Tracking
from components.watched import Watched, credentials_end
from components.watched import watched as facts
from stacks.schema import LabConfig, TrackingConfig
from stacks.watching import MonitoringConfig
from tests.harness import ADDRESS, ROOT, SEED, Lab, deploy, example
from tests.watching import (
    BARE,
    MONITORING,
    RECEIVER_SECRETS,
    WATCHED,
    releases,
    run,
)

GOLDEN = ROOT / "tests" / "golden" / "prometheus.yaml"
SECRETS = {
    "seed": SEED,
    **{f"alerts-{name}": value for name, value in RECEIVER_SECRETS.items()},
}


def monitoring(
    config: MonitoringConfig = MONITORING,
    watched: Watched = WATCHED,
    *,
    secrets: Mapping[str, str] | None = None,
) -> Lab:
    given = {**SECRETS, **(secrets or {})}

    def program() -> None:
        found = Monitoring(
            "monitoring",
            config,
            watched=watched,
            namespace=watched.lab,
            image=lambda name: f"images/{name}:1",
            storage_class=None,
            secret=lambda name: pulumi.Output.secret(given[name]),
        )
        pulumi.export("url", found.url)
        pulumi.export("alerts_url", found.alerts_url)

    return deploy(program)


def tracking(*, watched: bool) -> Lab:
    def program() -> None:
        Tracking(
            "tracking",
            TrackingConfig(capacity="5Gi", bucket="mlflow"),
            namespace="lab",
            image=lambda name: f"images/{name}:1",
            storage_class=None,
            seed=pulumi.Output.secret(SEED),
            artifacts=S3Access(
                "http://minio:9000",
                "us-east-1",
                pulumi.Output.from_input("storage-tracking"),
                pulumi.Output.from_input("keys"),
            ),
            watched=watched,
        )

    return deploy(program)


def container(lab: Lab, kind: str, name: str) -> dict[str, Any]:
    spec = lab.one(kind, name).spec["template"]["spec"]
    found: dict[str, Any] = spec["containers"][0]
    return found


def mark(lab: Lab, kind: str, name: str) -> str:
    metadata = lab.one(kind, name).spec["template"]["metadata"]
    return str(metadata["annotations"]["labfactory.io/settings"])


def settings(config: MonitoringConfig, watched: Watched) -> dict[str, Any]:
    return prometheus.settings(config, watched)


def jobs(watched: Watched = WATCHED) -> dict[str, dict[str, Any]]:
    return {each["job_name"]: each for each in scrapes.jobs(MONITORING, watched)}


def relabelled(configs: list[dict[str, Any]], labels: dict[str, str]) -> dict[str, str]:
    """What Prometheus makes of a series' labels; nothing when it is dropped."""
    found = dict(labels)
    for config in configs:
        if config.get("action") == "labeldrop":
            found = {k: v for k, v in found.items() if k != config["regex"]}
            continue
        text = ";".join(found.get(name, "") for name in config["source_labels"])
        match = re.fullmatch(config["regex"], text)
        if config.get("action") == "keep":
            if match is None:
                return {}
        elif match:
            replacement = config.get("replacement", "$1").replace("$", "\\")
            found[config["target_label"]] = match.expand(replacement)
    return found


@pytest.mark.parametrize("watched", [WATCHED, BARE], ids=lambda each: each.lab)
def test_prometheus_takes_the_settings_of_every_kind_of_lab(
    watched: Watched, tmp_path: Path
) -> None:
    for interval in (1, 60):
        config = MonitoringConfig(interval_seconds=interval)
        path = tmp_path / f"{interval}.yaml"
        path.write_text(yaml.safe_dump(settings(config, watched)))

        run("promtool", "check", "config", "--syntax-only", path)


def test_what_is_measured_is_what_was_reviewed() -> None:
    found = yaml.safe_dump(settings(MonitoringConfig(), WATCHED), sort_keys=False)

    assert found == GOLDEN.read_text()


def test_alertmanager_takes_every_kind_of_receiver(tmp_path: Path) -> None:
    for name, config in (("all", MONITORING), ("none", MonitoringConfig())):
        path = tmp_path / f"{name}.yaml"
        path.write_text(alertmanager.written(config.receivers, RECEIVER_SECRETS))

        run("amtool", "check-config", path)


def test_everybody_hears_of_every_alert_but_the_one_that_always_fires(
    tmp_path: Path,
) -> None:
    path = tmp_path / "alertmanager.yaml"
    path.write_text(alertmanager.written(MONITORING.receivers, RECEIVER_SECRETS))

    def told(*labels: str) -> set[str]:
        route = ("config", "routes", "test", f"--config.file={path}")
        return set(run("amtool", *route, *labels).strip().split(","))

    assert told("severity=page", "alertname=ReleaseErrors") == {
        f"to-{name}" for name in MONITORING.receivers
    }
    assert told("severity=none", "alertname=Watchdog") == {"nobody"}


def test_a_receiver_s_secret_is_asked_for_only_where_it_has_one() -> None:
    config = MonitoringConfig.model_validate(
        {"receivers": {"hook": {"kind": "webhook", "url": "https://a.example.com/b"}}}
    )

    text = monitoring(config).one("Secret", "alertmanager").inputs["stringData"]

    found = json.loads(text["alertmanager.yaml"])
    assert found["receivers"][1]["webhook_configs"][0]["url"] == (
        "https://a.example.com/b"
    )


def test_a_mail_server_is_never_spoken_to_in_the_open() -> None:
    found = alertmanager.settings(MONITORING.receivers, RECEIVER_SECRETS)
    mails = [each for r in found["receivers"] for each in r.get("email_configs", ())]

    assert len(mails) == 2
    assert all(each["require_tls"] for each in mails)


def test_no_secret_is_where_everybody_can_read() -> None:
    lab = monitoring()
    given = [*RECEIVER_SECRETS.values(), SEED]
    given += lab.one("Secret", "prometheus-store").inputs["stringData"].values()

    for found in lab.objects():
        if found.kind == "Secret":
            assert "stringData" in found.secrets, found.name
        else:
            text = json.dumps(found.inputs)
            assert not [each for each in given if each in text], found.name
            assert not found.secrets, found.name


def test_a_change_of_the_settings_restarts_what_reads_them() -> None:
    old = monitoring()
    slow = monitoring(watched=replace(WATCHED, releases=releases()))
    other = monitoring(secrets={"alerts-mail": "not-a-secret-either"})

    server, alerting = ("StatefulSet", "prometheus"), ("Deployment", "alertmanager")
    assert mark(old, *server) == mark(monitoring(), *server)
    assert mark(old, *server) != mark(slow, *server)
    assert mark(old, *alerting) == mark(slow, *alerting)
    assert mark(old, *alerting) != mark(other, *alerting)


def test_measurements_are_bounded_in_time_disk_and_memory() -> None:
    config = MonitoringConfig(capacity="10Gi", retention_days=3)
    lab = monitoring(config)

    found = container(lab, "StatefulSet", "prometheus")
    assert "--storage.tsdb.retention.time=3d" in found["args"]
    assert "--storage.tsdb.retention.size=8192MB" in found["args"]
    assert lab.one("PersistentVolumeClaim", "prometheus-data").spec["resources"] == {
        "requests": {"storage": "10Gi"}
    }
    [ceiling] = [e["value"] for e in found["env"] if e["name"] == "GOMEMLIMIT"]
    assert int(ceiling.removesuffix("MiB")) < 512
    assert found["resources"]["limits"]["memory"] == "512Mi"


def test_its_pages_are_at_the_addresses_that_are_shown() -> None:
    lab = monitoring()

    for name, key, kind in (
        ("prometheus", "url", "StatefulSet"),
        ("alertmanager", "alerts_url", "Deployment"),
    ):
        [port] = lab.one("Service", name).spec["ports"]
        assert lab.exports[key] == f"http://{ADDRESS}:{port['port']}"
        assert (
            f"--web.external-url={lab.exports[key]}"
            in container(lab, kind, name)["args"]
        )


def test_services_lead_to_the_pods_that_are_declared() -> None:
    lab = monitoring()
    pods = {meta["labels"]["app"]: spec for _, meta, spec in lab.pods()}

    assert set(pods) == {"alertmanager", "prometheus", "state-metrics"}
    for name, spec in pods.items():
        service = lab.one("Service", name).spec
        assert service["selector"] == {"app": name}
        ports = {p["containerPort"] for c in spec["containers"] for p in c["ports"]}
        assert {port["port"] for port in service["ports"]} <= ports


def test_the_targets_are_services_and_ports_that_the_lab_has() -> None:
    lab = monitoring()
    known = {
        f"{found.metadata['name']}:{port['port']}"
        for found in [*lab.all("Service"), *tracking(watched=True).all("Service")]
        for port in found.spec["ports"]
    }
    targets = {
        target
        for job in jobs().values()
        for static in job.get("static_configs", ())
        for target in static["targets"]
    }

    others = {"localhost:9090", "minio:9000", "guard:8080", "feedback:8080"}
    assert targets - others <= known
    assert others <= targets
    names = {
        name
        for job in jobs().values()
        for found in job.get("dns_sd_configs", ())
        for name in found["names"]
    }
    headless = {
        f"{found.metadata['name']}.{found.metadata['namespace']}.svc"
        for found in lab.all("Service")
        if found.spec.get("clusterIP") == "None"
    }
    assert names == headless


def test_prometheus_may_read_what_kubelets_measure_and_nothing_else() -> None:
    lab = monitoring()

    [role] = lab.all("ClusterRole")
    assert role.inputs["rules"] == [
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]}
    ]
    assert "example" in role.metadata["name"]
    [binding] = lab.all("ClusterRoleBinding")
    assert binding.inputs["subjects"] == [
        {"kind": "ServiceAccount", "name": "prometheus", "namespace": "example"}
    ]


def test_a_kubelet_is_trusted_unsigned_only_where_nothing_signs_them() -> None:
    for watched, trust in (
        (WATCHED, {"ca_file": "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"}),
        (BARE, {"insecure_skip_verify": True}),
    ):
        found = [job for job in jobs(watched).values() if "file_sd_configs" in job]
        assert [job["tls_config"] for job in found] == [trust] * 3


def test_envoy_s_series_say_release_and_variant_and_others_labs_are_left_out() -> None:
    configs = jobs()["gateway"]["metric_relabel_configs"]

    def kept(name: str, cluster: str) -> dict[str, str]:
        return relabelled(configs, {"__name__": name, "envoy_cluster_name": cluster})

    total = "envoy_cluster_upstream_rq_total"
    assert kept(total, "example_iris-big-v2-predictor_80") == {
        "__name__": total,
        "isvc": "iris-big-v2",
        "release": "iris-big",
        "variant": "v2",
    }
    assert kept(total, "other_iris-v2-predictor_80") == {}
    assert kept(total, "example_minio_9000") == {}
    assert kept("envoy_cluster_http2_streams", "example_iris-v2-predictor_80") == {}


def test_a_model_server_s_series_say_release_and_variant() -> None:
    configs = jobs()["models"]["metric_relabel_configs"]

    def kept(name: str) -> dict[str, str]:
        labels = {"__name__": name, "model": "a-b", "served_by": "a-b-v1"}
        return relabelled(configs, labels)

    for name in (
        "lab_model_predictions_total",
        "lab_model_bin_expected",
        "lab_model_logged_timestamp_seconds",
    ):
        found = kept(name)
        assert (found["isvc"], found["release"], found["variant"]) == (
            *("a-b-v1", "a-b", "v1"),
        )
    assert kept("lab_model_predictions_created") == {}
    assert kept("python_gc_objects_collected_total") == {}


def test_kubernetes_objects_of_a_variant_say_release_and_variant() -> None:
    configs = jobs()["state"]["metric_relabel_configs"]
    name = {"__name__": "kube_pod_status_phase"}

    for labels in (
        {"deployment": "a-b-v1-predictor"},
        {"pod": "a-b-v1-predictor-fdd97597-gwjf8"},
    ):
        found = relabelled(configs, {**name, **labels})
        assert (found["release"], found["variant"]) == ("a-b", "v1")
    for job in ("batch-a-b-29400180", "batch-a-b-0123456789"):
        assert relabelled(configs, {**name, "job_name": job})["release"] == "a-b"
    assert "release" not in relabelled(configs, {**name, "deployment": "mlflow"})


def test_a_node_s_figures_are_of_itself_and_of_this_lab() -> None:
    configs = jobs()["node-cadvisor"]["metric_relabel_configs"]
    name = "container_fs_usage_bytes"

    def kept(**labels: str) -> bool:
        return bool(relabelled(configs, {"__name__": name, **labels}))

    assert kept(device="/dev/vda")
    assert kept(namespace="example", device="/dev/vda")
    assert not kept(namespace="other", device="/dev/vda")
    assert not kept(device="/dev/shm/a")
    assert not kept(device="/proc/sys/kernel/panic")


def test_every_series_that_an_alert_asks_for_is_kept() -> None:
    kept = [
        config["regex"]
        for job in jobs().values()
        for config in job["metric_relabel_configs"]
        if config.get("source_labels") == ["__name__"]
    ]
    tree = alerts.rules(WATCHED, MONITORING)
    every = [rule for group in tree["groups"] for rule in group["rules"]]
    prefixes = "envoy|lab|minio|pg|mlflow|kube|kubelet|node|machine|container"
    series = rf"\b(?:{prefixes}|prometheus|alertmanager)_[a-z_]+"
    asked = {
        name
        for rule in every
        for name in re.findall(series, re.sub(r"{.*?}", "", rule["expr"]))
    }

    assert len(asked) > 30
    assert {n for n in asked if not any(re.fullmatch(r, n) for r in kept)} == set()


def test_the_store_s_token_is_what_minio_checks() -> None:
    [token] = (
        monitoring().one("Secret", "prometheus-store").inputs["stringData"].values()
    )
    assert token.count(".") == 2
    text, _, signature = minio.metrics_token("root", "password", end=7).rpartition(".")

    def plain(part: str) -> bytes:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    header, claims = (json.loads(plain(part)) for part in text.split("."))
    assert header == {"alg": "HS512", "typ": "JWT"}
    assert claims == {"exp": 7, "iss": "prometheus", "sub": "root"}
    assert plain(signature) == hmac.digest(b"password", text.encode(), hashlib.sha512)


def test_a_lab_without_a_store_of_its_own_has_no_token() -> None:
    lab = monitoring(MonitoringConfig(), BARE)

    assert [found.metadata["name"] for found in lab.all("Secret")] == ["alertmanager"]
    assert "storage" not in jobs(BARE)


def test_every_resource_belongs_to_the_component() -> None:
    root, *children = monitoring().declared

    assert root.type == "labfactory:components:Monitoring"
    assert {child.parent for child in children} == {"monitoring"}


def test_the_database_is_as_before_where_nobody_measures_it() -> None:
    lab = tracking(watched=False)

    assert not [s for s in lab.all("Secret") if "metrics" in s.metadata["name"]]
    spec = lab.one("StatefulSet", "postgres").spec["template"]["spec"]
    [only] = spec["containers"]
    assert only["command"] == ["sh", "-c", postgres.start()]
    assert len(lab.one("Service", "postgres").spec["ports"]) == 1
    assert (
        "--expose-prometheus=/tmp/metrics"
        not in container(lab, "Deployment", "mlflow")["args"]
    )


def test_whoever_measures_the_database_is_not_its_superuser() -> None:
    lab = tracking(watched=True)

    spec = lab.one("StatefulSet", "postgres").spec["template"]["spec"]
    server, exporter = spec["containers"]
    assert server["command"] == ["sh", "-c", postgres.start(watched=True)]
    assert exporter["image"] == "images/postgres-exporter:1"
    assert (
        exporter["securityContext"]["runAsUser"] != spec["securityContext"]["runAsUser"]
    )
    assert exporter["securityContext"]["readOnlyRootFilesystem"]
    assert "scram-sha-256" in postgres.start(watched=True)
    mounted = {each["name"] for each in exporter["volumeMounts"]}
    assert mounted == {"sockets"}


def test_the_tracking_server_shows_its_figures_where_they_are_measured() -> None:
    found = container(tracking(watched=True), "Deployment", "mlflow")

    assert "--expose-prometheus=/tmp/metrics" in found["args"]
    assert "tracking" in jobs()


def test_what_is_measured_follows_from_the_settings() -> None:
    store = {
        "kind": "s3",
        "endpoint": "https://s3.example.com",
        "region": "eu-west-1",
        "buckets": ["mlflow", "datasets", "predictions"],
    }
    cluster = {"target": "existing", "context": "team"}
    platform = {"kind": "shared", "gateway": "gateways/lab"}
    theirs = example(storage=store, cluster=cluster, platform=platform)

    own = facts(LabConfig.model_validate(example()))
    other = facts(LabConfig.model_validate(theirs))

    assert own.gateway_namespace == "projectcontour"
    assert own.store_bytes == 20 * 2**30
    assert other.gateway_namespace == "gateways"
    assert other.store_bytes is None


def test_a_credential_s_end_is_that_of_the_certificates() -> None:
    issued = date(2026, 11, 21)
    made = credentials.certificate(SEED, "xds", ("envoy",), issued)
    found = x509.load_pem_x509_certificate(made.certificate.encode())

    assert credentials_end(issued) == int(found.not_valid_after_utc.timestamp())
