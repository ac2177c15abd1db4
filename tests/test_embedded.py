import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from labfactory import embedded, tools
from labfactory.embedded import (
    addons,
    api,
    cgroups,
    lock,
    machine,
    network,
    pki,
    plan,
    prepare,
    remains,
    settings,
    supervisor,
)
from labfactory.embedded.addresses import COUNT, POOL, Addresses, choose
from labfactory.errors import LabError
from labfactory.progress import Progress

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ADDRESSES = Addresses(3)
TOOLS = {name: Path("/opt/tools", name) for name in plan.TOOLS}
indexes = st.integers(0, COUNT - 1)


# Addresses


@given(indexes, indexes)
def test_two_clusters_never_share_an_address(one: int, other: int) -> None:
    first, second = Addresses(one), Addresses(other)

    assert first.network.overlaps(second.network) == (one == other)


@given(indexes)
def test_everything_of_a_cluster_lies_apart_in_its_own_range(index: int) -> None:
    addresses = Addresses(index)
    parts = [addresses.link, addresses.services, addresses.pods]

    assert addresses.network.subnet_of(POOL)
    assert all(part.subnet_of(addresses.network) for part in parts)
    assert sum(a.overlaps(b) for a in parts for b in parts) == len(parts)
    assert {addresses.host, addresses.node} <= set(addresses.link.hosts())
    assert addresses.dns in addresses.services
    assert addresses.pods.num_addresses > 2 * 110


@given(st.sets(indexes, max_size=COUNT - 1), st.text("abc", min_size=1))
def test_a_new_cluster_avoids_every_range_in_use(taken: set[int], name: str) -> None:
    networks = [Addresses(index).network for index in taken]

    chosen = choose(Path("/data", name), networks)

    assert chosen is not None
    assert chosen.index not in taken


def test_the_same_folder_gets_the_same_range_again() -> None:
    assert choose(Path("/data/demo"), []) == choose(Path("/data/demo"), [])


def test_a_full_range_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "used", dict)
    others = {Path(f"/data/{index}"): index for index in range(COUNT)}

    with pytest.raises(LabError, match=r"all 32 ranges of 198\.18\.0\.0/15 are in use"):
        network.pick(Path("/data/new"), others)


def test_a_range_that_something_else_took_is_named_with_its_interface(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(network, "used", lambda: {IPv4Network("198.18.48.0/24"): "vpn"})

    with pytest.raises(LabError, match=r"198\.18\.48\.0/24 is already on .* vpn"):
        network.check(ADDRESSES, Path("/data/demo"))


def test_a_range_is_chosen_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "used", dict)
    folder = tmp_path / "demo"
    folder.mkdir()
    first = prepare.addresses(folder)
    monkeypatch.setattr(network, "used", lambda: {first.network: "vpn"})

    assert prepare.addresses(folder) == first


# Certificates


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates") / "pki"
    pki.ensure(folder, pki.leaves("demo", ADDRESSES), now=NOW)
    return folder


@pytest.fixture
def certificates(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "pki")


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_api_server_is_trusted_under_every_name_it_is_called_by(
    made: Path,
) -> None:
    names = (
        read(made / "apiserver.crt")
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )

    addresses = names.get_values_for_type(x509.IPAddress)
    assert {ADDRESSES.node, ADDRESSES.services[1]} <= set(addresses)
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)


def test_the_kubelet_cannot_open_the_store(made: Path) -> None:
    store = read(made / "etcd-ca.crt")
    issuers = {
        leaf.file: read(made / f"{leaf.file}.crt").issuer == store.subject
        for leaf in pki.leaves("demo", ADDRESSES)
    }

    assert [file for file, opens in issuers.items() if opens] == [
        "etcd",
        "apiserver-etcd",
    ]


def test_only_the_owner_can_read_keys(made: Path) -> None:
    modes = {stat.S_IMODE(path.stat().st_mode) for path in made.iterdir()}

    assert modes == {0o600}
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


@pytest.mark.parametrize(("days", "renewed"), [(0, False), (274, False), (276, True)])
def test_certificates_are_renewed_when_fewer_than_90_days_are_left(
    certificates: Path, days: int, renewed: bool
) -> None:
    before = contents(certificates)

    made = pki.ensure(
        certificates,
        pki.leaves("demo", ADDRESSES),
        now=NOW + timedelta(days=days),
    )

    after = contents(certificates)
    assert made == renewed
    assert (before["admin.crt"] != after["admin.crt"]) == renewed
    assert before["ca.crt"] == after["ca.crt"]
    assert before["sa.key"] == after["sa.key"]


def test_an_authority_never_ends_before_what_it_signed(certificates: Path) -> None:
    late = NOW + timedelta(days=3650 - 300)

    pki.ensure(certificates, pki.leaves("demo", ADDRESSES), now=late)

    authority = read(certificates / "ca.crt")
    leaf = read(certificates / "admin.crt")
    leaf.verify_directly_issued_by(authority)
    assert leaf.not_valid_after_utc <= authority.not_valid_after_utc


def test_a_key_that_does_not_fit_its_certificate_is_replaced(
    certificates: Path,
) -> None:
    shutil.copy(certificates / "proxy.key", certificates / "admin.key")

    assert pki.ensure(certificates, pki.leaves("demo", ADDRESSES), now=NOW)
    assert not pki.ensure(certificates, pki.leaves("demo", ADDRESSES), now=NOW)


def test_other_addresses_mean_another_server_certificate(certificates: Path) -> None:
    before = contents(certificates)

    pki.ensure(certificates, pki.leaves("demo", Addresses(4)), now=NOW)

    after = contents(certificates)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"apiserver.crt", "apiserver.key", "kubelet.crt", "kubelet.key"}


# Settings and plan


def files() -> dict[str, str]:
    return settings.files(
        "demo",
        ADDRESSES,
        TOOLS,
        pause="localhost/labfactory/pause:1",
        group="labfactory-demo-0a1b2c",
    )


def node(**changes: Any) -> dict[str, Any]:
    given = {
        "name": "demo",
        "addresses": ADDRESSES,
        "folder": Path("/data/clusters/demo"),
        "cgroups": [Path("/sys/fs/cgroup/labfactory-demo")],
        "tools": TOOLS,
        "settings": files(),
    }
    return plan.node(**{**given, **changes})


def flags(process: str) -> dict[str, str]:
    [argv] = [p["argv"] for p in node()["processes"] if p["name"] == process]
    return {flag.partition("=")[0]: flag.partition("=")[2] for flag in argv[1:]}


def test_written_data_is_on_the_disk_before_it_is_acknowledged() -> None:
    assert "--unsafe-no-fsync" not in flags("etcd")


def test_nobody_gets_in_without_a_certificate() -> None:
    kubelet = json.loads(files()["kubelet.json"])

    assert flags("kube-apiserver")["--anonymous-auth"] == "false"
    assert kubelet["authentication"]["anonymous"] == {"enabled": False}
    assert kubelet["authorization"] == {"mode": "Webhook"}
    assert "--client-cert-auth" in flags("etcd")
    assert flags("etcd")["--listen-client-urls"].startswith("https://127.0.0.1:")


def test_pods_live_in_the_clusters_own_control_group_and_range() -> None:
    kubelet = json.loads(files()["kubelet.json"])
    cni = json.loads(files()["cni/10-labfactory.conflist"])

    assert kubelet["cgroupRoot"] == "/labfactory-demo-0a1b2c"
    assert cni["plugins"][0]["ipam"]["ranges"] == [[{"subnet": str(ADDRESSES.pods)}]]


def test_no_image_is_deleted_to_make_room() -> None:
    kubelet = json.loads(files()["kubelet.json"])

    assert kubelet["imageGCHighThresholdPercent"] == 100
    assert not [key for key in kubelet["evictionHard"] if "fs" in key]


def test_the_node_has_no_way_out() -> None:
    routes = [
        step["run"]
        for step in node()["setup"]
        if step.get("run", [])[:3] == ["ip", "route", "add"]
    ]

    assert [route[3] for route in routes] == [str(ADDRESSES.services)]


def test_everything_the_kubelet_would_change_on_the_machine_is_masked() -> None:
    masked = {
        step["run"][-1] for step in node()["setup"] if "--bind" in step.get("run", [])
    }

    assert {"/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/panic"} <= masked


def test_the_store_stops_last_and_pods_stop_before_the_runtime() -> None:
    processes = node()["processes"]
    names = [process["name"] for process in processes]

    assert names[0] == "etcd"
    assert names[-1] == "kubelet"
    assert [p["name"] for p in processes if p["drain"]] == ["containerd"]
    for place, process in enumerate(processes):
        assert set(process["after"]) <= set(names[:place])


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": {**TOOLS, "kubelet": Path("/opt/tools/newer/kubelet")}},
        {"settings": {**files(), "containerd.toml": "another pause image"}},
        {"addresses": Addresses(4)},
    ],
)
def test_a_node_is_restarted_when_what_it_runs_changes(changes: dict[str, Any]) -> None:
    assert node()["digest"] == node()["digest"]
    assert node()["digest"] != node(**changes)["digest"]


# Add-ons


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    images = {name: f"localhost/{name}:1" for name in ("coredns", "helper")}
    images["local-path-provisioner"] = "localhost/local-path-provisioner:1"
    return list(yaml.safe_load_all(addons.render(ADDRESSES, images)))


def kind(objects: list[dict[str, Any]], wanted: str) -> list[dict[str, Any]]:
    return [found for found in objects if found["kind"] == wanted]


def test_names_are_answered_where_pods_ask(objects: list[dict[str, Any]]) -> None:
    [service] = kind(objects, "Service")
    kubelet = json.loads(files()["kubelet.json"])

    assert kubelet["clusterDNS"] == [service["spec"]["clusterIP"]]


def test_volumes_lie_in_the_clusters_folder(objects: list[dict[str, Any]]) -> None:
    [config] = [c for c in kind(objects, "ConfigMap") if "config.json" in c["data"]]
    [paths] = json.loads(config["data"]["config.json"])["nodePathMap"]
    [storage] = kind(objects, "StorageClass")
    annotations = storage["metadata"]["annotations"]

    assert paths["paths"] == [str(settings.INSIDE / "volumes")]
    assert "$VOL_DIR" in config["data"]["setup"]
    assert annotations["storageclass.kubernetes.io/is-default-class"] == "true"


def test_every_add_on_is_restricted_and_limited(objects: list[dict[str, Any]]) -> None:
    deployments = kind(objects, "Deployment")

    names = {(d["metadata"]["namespace"], d["metadata"]["name"]) for d in deployments}
    assert names == set(addons.DEPLOYMENTS)
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


# The supervisor


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Run the real supervisor, as an ordinary process, over tiny programs."""
    started: list[subprocess.Popen[str]] = []
    for part in ("node", "logs"):
        (tmp_path / part).mkdir()

    def run(**scripts: str) -> subprocess.Popen[str]:
        names = list(scripts)
        processes = [
            {
                "name": name,
                "argv": ["/bin/sh", "-c", script],
                "env": {"PATH": os.environ["PATH"]},
                "after": names[: names.index(name)],
                "ready_when": {},
                "drain": False,
            }
            for name, script in scripts.items()
        ]
        content = {"digest": "x", "cgroups": [], "setup": [], "processes": processes}
        (tmp_path / "node" / "node.json").write_text(json.dumps(content))
        started.append(
            subprocess.Popen(
                [sys.executable, "-I", "-S", supervisor.__file__, str(tmp_path)],
                text=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.terminate()
        process.wait(timeout=20)


def eventually(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "it never happened"
        threading.Event().wait(0.02)


def told(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = machine.state(folder).get("processes", {}).get(name, {})
    return found


def test_a_killed_process_is_started_again(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    start(store="exec sleep 100")
    eventually(lambda: told(tmp_path, "store").get("ready"))
    first = told(tmp_path, "store")["pid"]

    os.kill(first, signal.SIGKILL)

    eventually(lambda: told(tmp_path, "store")["pid"] not in (0, first))
    assert told(tmp_path, "store")["restarts"] == 1


def test_processes_stop_in_reverse_order(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    order = tmp_path / "order"
    script = "trap 'echo {0} >> {1}; exit' TERM; while :; do sleep 0.05; done"
    running = start(
        store=script.format("store", order), server=script.format("server", order)
    )
    eventually(lambda: told(tmp_path, "server").get("ready"))

    running.terminate()

    assert running.wait(timeout=20) == 0
    assert order.read_text().split() == ["server", "store"]


def test_a_process_waits_for_what_it_needs(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    start(store="exit 1", server="touch started; exec sleep 100")

    eventually(lambda: told(tmp_path, "store").get("restarts"))

    assert not (tmp_path / "started").exists()


def test_the_output_of_each_process_is_kept(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    start(store="echo to the log; echo and this >&2; exec sleep 100")

    log = tmp_path / "logs" / "store.log"
    eventually(lambda: log.exists() and log.read_text() == "to the log\nand this\n")


def test_a_program_that_is_not_there_is_retried_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("logs").mkdir()
    process = supervisor.Process(spec(argv=["/nowhere/etcd"]))

    process.start()

    assert process.pid == 0
    assert process.retry_at > time.monotonic()
    assert "cannot start /nowhere/etcd" in Path("logs/etcd.log").read_text()


def spec(**changes: Any) -> dict[str, Any]:
    given = {"name": "etcd", "argv": ["/bin/true"], "env": {}, "after": []}
    return {**given, "ready_when": {}, "drain": False, **changes}


def test_restarts_slow_down_until_the_process_keeps_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    process = supervisor.Process(spec())
    delays = []
    for lasted in (0, 0, 0, 0, 0, 0, 0, 61, 0):
        process.started = clock - lasted
        process.ended()
        delays.append(process.retry_at - clock)

    assert delays == [1, 2, 4, 8, 16, 30, 30, 1, 2]


# What is left, who waits, who may


def test_mounts_of_a_cluster_are_recognised_even_with_blanks() -> None:
    mountinfo = (
        "22 1 8:1 / / rw - ext4 /dev/vda rw\n"
        "40 22 8:1 /my\\040data/demo/volumes /srv rw - ext4 /dev/vda rw\n"
        "41 22 0:40 / /my\\040data/demo/kubelet/token rw - tmpfs tmpfs rw\n"
        "42 22 0:41 / /my\\040data/demolition rw - tmpfs tmpfs rw\n"
    )

    assert remains.mounts(mountinfo, Path("/my data/demo")) == [
        "/srv",
        "/my data/demo/kubelet/token",
    ]


def test_both_versions_of_control_groups_are_found() -> None:
    mountinfo = (
        "30 22 0:25 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
        "31 22 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        "32 22 0:27 / /sys rw - sysfs sysfs rw\n"
    )

    assert cgroups.hierarchies(mountinfo) == {
        Path("/sys/fs/cgroup/memory"): "cgroup",
        Path("/sys/fs/cgroup/unified"): "cgroup2",
    }


def test_a_cluster_that_never_was_has_nothing_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABFACTORY_HOME", str(tmp_path))

    assert embedded.leftovers("never-was") == []
    assert embedded.clusters() == []
    assert not embedded.running("never-was")
    assert embedded.processes("never-was") == {}


def test_who_waits_for_a_cluster_reads_who_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABFACTORY_HOME", str(tmp_path))
    said = StringIO()
    entered = threading.Event()

    def second() -> None:
        with lock.held("demo", Progress(said)):
            entered.set()

    waiting = threading.Thread(target=second)
    with lock.held("demo", Progress(StringIO())):
        waiting.start()
        eventually(said.getvalue)
        assert f"process {os.getpid()} is starting or stopping" in said.getvalue()
        assert not entered.is_set()
    waiting.join(timeout=10)

    assert entered.is_set()


@pytest.mark.parametrize("name", ["", "Demo", "-demo", "demo-", "1demo", "x" * 41])
def test_a_name_that_kubernetes_would_refuse_is_refused_at_once(name: str) -> None:
    with pytest.raises(LabError, match="not a usable name"):
        embedded.up(name)


def test_without_root_there_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(LabError, match="it needs root"):
        machine.check_permissions(tmp_path)


def test_missing_tools_are_named_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = {"etcd", "runc"}
    monkeypatch.setattr(
        tools, "find", lambda name: None if name in absent else TOOLS[name]
    )

    with pytest.raises(LabError, match="etcd, runc not on this machine yet"):
        prepare.tools_of_a_node()


# Pods after a restart


def pod(started: str, ready: str = "True", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"state": {"running": {"startedAt": started}}}],
            **status,
        },
    }


def test_what_was_ready_before_the_restart_does_not_count() -> None:
    since = "2026-11-21T08:00:00Z"

    assert api.is_back(pod("2026-11-21T08:00:00Z"), since)
    assert not api.is_back(pod("2026-11-21T07:59:59Z"), since)
    assert not api.is_back(pod("2026-11-21T08:00:09Z", ready="False"), since)


def test_nobody_waits_for_a_pod_that_is_done() -> None:
    assert api.is_over(pod("", phase="Succeeded"))
    assert not api.is_over(pod("", phase="Running"))


def test_clusters_of_the_same_name_in_two_data_folders_share_no_control_group(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = cgroups.group("demo")
    monkeypatch.setenv("LABFACTORY_HOME", str(home / "elsewhere"))

    assert cgroups.group("demo") != here
    assert cgroups.group("demo").startswith("labfactory-demo-")
