"""Settings files of the node's programs: pure functions, text out.

Inside the node the cluster's folder is always `/run/labfactory`, so the settings do not
depend on where the data folder lies, and no path gets too long for a socket.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labfactory.embedded.addresses import Addresses

INSIDE = Path("/run/labfactory")
SOCKET = Path("/run/containerd/containerd.sock")
VOLUME_PLUGINS = Path("/run/kubelet-volume-plugins")
API_PORT = 6443


def files(
    name: str,
    addresses: Addresses,
    tools: Mapping[str, Path],
    *,
    pause: str,
    group: str,
) -> dict[str, str]:
    """Every settings file of the node: path under `node/` -> text.

    `tools` maps tool names to executables, `pause` is the sandbox image, `group` the
    control group that pods belong to.
    """
    rendered = {
        "containerd.toml": _containerd(tools, pause),
        "cni/10-labfactory.conflist": _json(_cni(addresses)),
        "kubelet.json": _json(_kubelet(group, addresses)),
        "proxy.json": _json(_proxy(name, addresses)),
        "resolv.conf": "",
    }
    for user in ("controller-manager", "scheduler", "kubelet", "proxy"):
        rendered[f"{user}.kubeconfig"] = _json(_kubeconfig(user))
    return rendered


def _containerd(tools: Mapping[str, Path], pause: str) -> str:
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    unused = ", ".join(
        f'"io.containerd.snapshotter.v1.{kind}"'
        for kind in ("aufs", "btrfs", "devmapper", "zfs")
    )
    # An AppArmor profile would stay in the machine's kernel after the cluster is gone.
    return f"""\
version = 2
root = "{INSIDE / "containerd"}"
state = "{SOCKET.parent}"
disabled_plugins = [{unused}]

[grpc]
address = "{SOCKET}"

[{cri}]
sandbox_image = "{pause}"
disable_apparmor = true
restrict_oom_score_adj = true

[{cri}.cni]
bin_dir = "{tools["cni-plugins"]}"
conf_dir = "{INSIDE / "node" / "cni"}"

[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
BinaryName = "{tools["runc"]}"
"""


def _cni(addresses: Addresses) -> dict[str, Any]:
    return {
        "cniVersion": "1.0.0",
        "name": "labfactory",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "hairpinMode": True,  # a pod may be the one behind its own Service
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": str(addresses.pods)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    # In memory, like the pods' network namespaces that it is about.
                    "dataDir": "/run/cni",
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _kubelet(group: str, addresses: Addresses) -> dict[str, Any]:
    pki = INSIDE / "pki"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": str(addresses.node),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{group}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [str(addresses.dns)],
        "clusterDomain": "cluster.local",
        "resolvConf": str(INSIDE / "node" / "resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "podLogsDir": str(INSIDE / "pod-logs"),
        "volumePluginDir": str(VOLUME_PLUGINS),
        "maxPods": 110,
        "nodeStatusUpdateFrequency": "5s",
        "crashLoopBackOff": {"maxContainerRestartPeriod": "15s"},
        # No thresholds for the disk, no collection of images: to make room the kubelet
        # would delete images that nothing but a new build could bring back.
        "evictionHard": {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
    }


def _proxy(name: str, addresses: Addresses) -> dict[str, Any]:
    unchanged = {"maxPerCore": 0, "min": 0}
    timeouts = {"tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": str(addresses.pods),
        "hostnameOverride": name,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "clientConnection": {
            "kubeconfig": str(INSIDE / "node" / "proxy.kubeconfig"),
        },
        "conntrack": {**unchanged, **timeouts},
        "iptables": {"localhostNodePorts": False, "minSyncPeriod": "0s"},
    }


def _kubeconfig(user: str) -> dict[str, Any]:
    pki = INSIDE / "pki"
    server = {
        "server": f"https://127.0.0.1:{API_PORT}",
        "certificate-authority": str(pki / "ca.crt"),
    }
    credentials = {
        "client-certificate": str(pki / f"{user}.crt"),
        "client-key": str(pki / f"{user}.key"),
    }
    return kubeconfig("node", server, credentials)


def kubeconfig(
    context: str, cluster: Mapping[str, str], user: Mapping[str, str]
) -> dict[str, Any]:
    """A kubeconfig with one context."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": dict(cluster)}],
        "users": [{"name": context, "user": dict(user)}],
        "contexts": [
            {"name": context, "context": {"cluster": context, "user": context}}
        ],
        "current-context": context,
    }


def _json(content: object) -> str:
    return json.dumps(content, indent=1) + "\n"
