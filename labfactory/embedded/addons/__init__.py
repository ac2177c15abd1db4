"""What a bare Kubernetes lacks: names (CoreDNS) and volumes (local-path)."""

from __future__ import annotations

from pathlib import Path
from string import Template

from labfactory.embedded.addresses import Addresses
from labfactory.embedded.settings import INSIDE

DEPLOYMENTS = (
    ("kube-system", "coredns"),
    ("local-path-storage", "local-path-provisioner"),
)


def render(addresses: Addresses, images: dict[str, str]) -> str:
    """All add-ons as YAML documents.

    `images` maps `coredns`, `local-path-provisioner` and `helper` to references.
    """
    values = {
        "dns_address": str(addresses.dns),
        "volumes": str(INSIDE / "volumes"),
        **{f"{name.replace('-', '_')}_image": ref for name, ref in images.items()},
    }
    files = sorted(Path(__file__).parent.glob("*.yaml"))
    return "---\n".join(Template(f.read_text()).substitute(values) for f in files)
