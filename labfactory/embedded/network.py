"""The cable between the machine and the node, and the machine's two routes over it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from labfactory.embedded.addresses import COUNT, POOL, Addresses, choose
from labfactory.embedded.plan import INTERFACE
from labfactory.errors import LabError

ALIAS = "labfactory"


def pick(folder: Path, others: Mapping[Path, int]) -> Addresses:
    """Addresses for the new cluster in `folder`; `others` maps folders to indexes.

    Raises LabError when every range is in use.
    """
    taken = [*used(), *(Addresses(index).network for index in others.values())]
    addresses = choose(folder, taken)
    if addresses is None:
        raise LabError(
            f"network: all {COUNT} ranges of {POOL} are in use on this machine; "
            f"`lab down --purge` of a cluster that is not needed frees one"
        )
    return addresses


def check(addresses: Addresses, folder: Path) -> None:
    """Raise LabError when something else on the machine uses the cluster's range."""
    for network, interface in used().items():
        if network.overlaps(addresses.network):
            owner = owner_of(interface)
            if owner == folder:
                continue
            whose = f", of the cluster in {owner}" if owner else ""
            raise LabError(
                f"network: {addresses.network} belongs to the cluster in {folder}, but "
                f"{network} is already on interface {interface}{whose}; remove it "
                f"there, then start this cluster again"
            )


def used() -> dict[IPv4Network, str]:
    """Networks that the machine has a route to, with the interface behind each."""
    routes = _ip_json("-4", "route", "show", "table", "all")
    return {
        IPv4Network(route["dst"]): route.get("dev", "none")
        for route in routes
        if route["dst"] != "default" and IPv4Network(route["dst"]).overlaps(POOL)
    }


def connect(addresses: Addresses, folder: Path, supervisor: int) -> None:
    """Put one end of a new cable into the supervisor's network namespace.

    Does nothing when it is there. Raises LabError when the kernel refuses.
    """
    interface = addresses.interface
    alias = f"{ALIAS}:{supervisor}:{folder}"[:255]
    if _alias(interface) == alias and connected(addresses):
        return
    disconnect(folder)
    node_end = ("peer", "name", INTERFACE, "netns", str(supervisor))
    _ip("link", "add", interface, "type", "veth", *node_end)
    _ip("link", "set", interface, "alias", alias)
    no_ipv6 = Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6")
    if no_ipv6.exists():
        no_ipv6.write_text("1")
    prefix = addresses.link.prefixlen
    _ip("address", "add", f"{addresses.host}/{prefix}", "dev", interface)
    _ip("link", "set", interface, "up")
    for network in (addresses.services, addresses.pods):
        _ip("route", "replace", str(network), "via", str(addresses.node))


def connected(addresses: Addresses) -> bool:
    """Whether the machine's end of the cable is there, with its routes."""
    interface = addresses.interface
    if not Path("/sys/class/net", interface).exists():
        return False
    found = {r["dst"] for r in _ip_json("-4", "route", "show", "dev", interface)}
    return {str(addresses.pods), str(addresses.services)} <= found


def disconnect(folder: Path) -> None:
    """Remove the machine's end of the cable, if there is one of this cluster."""
    for interface in interfaces(folder):
        subprocess.run(
            ["ip", "link", "delete", interface],
            check=False,  # it goes by itself when the node's namespace does
            capture_output=True,
        )


def interfaces(folder: Path) -> list[str]:
    """The machine's interfaces that belong to the cluster in `folder`."""
    links = [link["ifname"] for link in _ip_json("link", "show")]
    return [name for name in links if owner_of(name) == folder]


def owner_of(interface: str) -> Path | None:
    """Folder of the cluster that an interface belongs to, None when it is not ours."""
    kind, _, rest = _alias(interface).partition(":")
    return Path(rest.partition(":")[2]) if kind == ALIAS else None


def _alias(interface: str) -> str:
    path = Path("/sys/class/net") / interface / "ifalias"
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _ip_json(*words: str) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = json.loads(_ip("-json", *words) or "[]")
    return result


def _ip(*words: str) -> str:
    result = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if result.returncode != 0:
        raise LabError(
            f"network: `ip {' '.join(words)}` failed ({result.stderr.strip()}); the "
            f"embedded cluster needs root and a kernel with veth interfaces"
        )
    return result.stdout
