"""What runs on the node, in which order, with which flags: pure functions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labfactory.embedded.addresses import Addresses
from labfactory.embedded.settings import API_PORT, INSIDE, SOCKET, VOLUME_PLUGINS

INTERFACE = "node"
"""The node's end of the link to the machine."""
HIDDEN = (Path("/run"), Path("/var/lib"), Path("/var/log"))
"""Folders of the machine that the node has for itself, empty and in memory."""
SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

TOOLS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("kube-proxy", "kubelet", "kubectl"),
    *("containerd", "runc", "cni-plugins", "iptables", "ip"),
)
"""What a node needs, by the names of `labfactory.tools`."""

KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What the kubelet would set for the whole machine; it is shown these instead."""


def node(
    name: str,
    addresses: Addresses,
    folder: Path,
    cgroups: Sequence[Path],
    tools: Mapping[str, Path],
    settings: Mapping[str, str],
) -> dict[str, Any]:
    """The plan that the supervisor follows; `digest` changes when anything does."""
    plan = {
        "cgroups": [str(path / "node") for path in cgroups],
        "setup": [*_mounts(folder), *_network(addresses)],
        "processes": _processes(name, addresses, tools),
    }
    everything = json.dumps([plan, dict(settings)], sort_keys=True)
    return {**plan, "digest": hashlib.sha256(everything.encode()).hexdigest()}


def _mounts(folder: Path) -> list[dict[str, Any]]:
    run, *others = HIDDEN
    masked = [
        step
        for key, value in KERNEL_SETTINGS.items()
        for step in (
            {"write": f"/run/{key.replace('/', '.')}", "text": value},
            _run(
                "mount", "--bind", f"/run/{key.replace('/', '.')}", f"/proc/sys/{key}"
            ),
        )
    ]
    return [
        # The folder may itself lie in /run: build the new /run elsewhere, then move it.
        _run("mount", "-n", "-t", "tmpfs", "-o", "mode=755", "labfactory", "/mnt"),
        _run("mkdir", "/mnt/labfactory", "/mnt/lock"),
        _run("mount", "-n", "--bind", str(folder), "/mnt/labfactory"),
        _run("mount", "-n", "--move", "/mnt", str(run)),
        *(
            _run(
                "mount", "-n", "-t", "tmpfs", "-o", "mode=755", "labfactory", str(path)
            )
            for path in others
        ),
        _run("mount", "-n", "-t", "proc", "proc", "/proc"),
        *masked,
        # Among the node's own mount namespaces only: unshare cut it off the machine's.
        _run("mount", "-n", "--make-rshared", "/"),
    ]


def _network(addresses: Addresses) -> list[dict[str, Any]]:
    prefix = addresses.link.prefixlen
    return [
        {"kernel": "net/ipv4/ip_forward", "text": "1"},
        {"kernel": "net/ipv6/conf/default/disable_ipv6", "text": "1"},
        {"kernel": "net/ipv6/conf/all/disable_ipv6", "text": "1"},
        {"kernel": "net/bridge/bridge-nf-call-iptables", "text": "1"},
        _run("ip", "link", "set", "lo", "up"),
        {"interface": INTERFACE},
        _run("ip", "address", "add", f"{addresses.node}/{prefix}", "dev", INTERFACE),
        _run("ip", "link", "set", INTERFACE, "up"),
        # kube-proxy redirects a packet to a Service only after a route was found for
        # it, and there is no default route.
        _run(
            *("ip", "route", "add", str(addresses.services), "dev", INTERFACE),
            *("scope", "link", "src", str(addresses.node)),
        ),
    ]


def _processes(
    name: str, addresses: Addresses, tools: Mapping[str, Path]
) -> list[dict[str, Any]]:
    """In the order of starting; stopping goes backwards."""
    pki = INSIDE / "pki"
    settings = INSIDE / "node"
    store = "https://127.0.0.1:2379"

    def process(
        tool: str,
        *flags: str,
        after: Sequence[str] = (),
        ready_when: Mapping[str, str],
        drain: bool = False,
        **environment: str,
    ) -> dict[str, Any]:
        return {
            "name": tool,
            "argv": [str(tools[tool]), *flags],
            "env": {"PATH": SEARCH_PATH, "HOME": "/root", **environment},
            "after": list(after),
            "ready_when": dict(ready_when),
            "drain": drain,
        }

    return [
        process(
            "etcd",
            f"--name={name}",
            f"--data-dir={INSIDE / 'etcd'}",
            f"--listen-client-urls={store}",
            f"--advertise-client-urls={store}",
            "--listen-peer-urls=https://127.0.0.1:2380",
            "--initial-advertise-peer-urls=https://127.0.0.1:2380",
            f"--initial-cluster={name}=https://127.0.0.1:2380",
            "--client-cert-auth",
            f"--trusted-ca-file={pki / 'etcd-ca.crt'}",
            f"--cert-file={pki / 'etcd.crt'}",
            f"--key-file={pki / 'etcd.key'}",
            "--peer-client-cert-auth",
            f"--peer-trusted-ca-file={pki / 'etcd-ca.crt'}",
            f"--peer-cert-file={pki / 'etcd.crt'}",
            f"--peer-key-file={pki / 'etcd.key'}",
            "--log-level=warn",
            ready_when={"address": "127.0.0.1:2379"},
        ),
        process(
            "kube-apiserver",
            f"--etcd-servers={store}",
            f"--etcd-cafile={pki / 'etcd-ca.crt'}",
            f"--etcd-certfile={pki / 'apiserver-etcd.crt'}",
            f"--etcd-keyfile={pki / 'apiserver-etcd.key'}",
            f"--advertise-address={addresses.node}",
            f"--secure-port={API_PORT}",
            f"--service-cluster-ip-range={addresses.services}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--client-ca-file={pki / 'ca.crt'}",
            "--anonymous-auth=false",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki / 'sa.pub'}",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
            f"--kubelet-certificate-authority={pki / 'ca.crt'}",
            f"--kubelet-client-certificate={pki / 'apiserver-kubelet.crt'}",
            f"--kubelet-client-key={pki / 'apiserver-kubelet.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            "--profiling=false",
            after=("etcd",),
            ready_when={
                "address": f"https://127.0.0.1:{API_PORT}/readyz",
                "ca": str(pki / "ca.crt"),
                "cert": str(pki / "admin.crt"),
                "key": str(pki / "admin.key"),
            },
            GOGC="50",  # a smaller heap, collected more often
        ),
        process(
            "kube-controller-manager",
            f"--kubeconfig={settings / 'controller-manager.kubeconfig'}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials",
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--service-account-private-key-file={pki / 'sa.key'}",
            f"--cluster-signing-cert-file={pki / 'ca.crt'}",
            f"--cluster-signing-key-file={pki / 'ca.key'}",
            "--node-monitor-period=2s",
            # Its dozens of controllers share this; with the default they take turns.
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            f"--flex-volume-plugin-dir={VOLUME_PLUGINS}",
            "--terminated-pod-gc-threshold=50",
            "--profiling=false",
            after=("kube-apiserver",),
            ready_when={"address": "127.0.0.1:10257"},
            GOGC="50",
        ),
        process(
            "kube-scheduler",
            f"--kubeconfig={settings / 'scheduler.kubeconfig'}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--profiling=false",
            after=("kube-apiserver",),
            ready_when={"address": "127.0.0.1:10259"},
            GOGC="50",
        ),
        process(
            "containerd",
            f"--config={settings / 'containerd.toml'}",
            ready_when={"address": str(SOCKET)},
            drain=True,
        ),
        process(
            "kube-proxy",
            f"--config={settings / 'proxy.json'}",
            after=("kube-apiserver",),
            ready_when={"address": "http://127.0.0.1:10256/healthz"},
            GOGC="50",
        ),
        process(
            "kubelet",
            f"--config={settings / 'kubelet.json'}",
            f"--kubeconfig={settings / 'kubelet.kubeconfig'}",
            f"--root-dir={INSIDE / 'kubelet'}",
            f"--hostname-override={name}",
            f"--node-ip={addresses.node}",
            after=("kube-apiserver", "containerd"),
            ready_when={"address": "http://127.0.0.1:10248/healthz"},
            GOGC="50",
        ),
    ]


def _run(*words: str) -> dict[str, Any]:
    return {"run": list(words)}
