"""What a cluster needs before it starts: addresses, kubeconfig, programs."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from filelock import FileLock

from labfactory import paths, tools
from labfactory.embedded import network, plan, settings
from labfactory.embedded.addresses import Addresses
from labfactory.errors import LabError


def addresses(folder: Path) -> Addresses:
    """The addresses of the cluster in `folder`, chosen when it was first brought up.

    Raises LabError when all ranges are in use.
    """
    file = folder / "cluster.json"
    with FileLock(folder.parent / ".addresses.lock"):  # two clusters may be new at once
        if file.exists():
            return Addresses(json.loads(file.read_text())["index"])
        others = {
            path.parent: json.loads(path.read_text())["index"]
            for path in folder.parent.glob("*/cluster.json")
        }
        chosen = network.pick(folder, others)
        new = file.with_suffix(".new")
        new.write_text(json.dumps({"index": chosen.index}))
        new.replace(file)
        return chosen


def write_kubeconfig(name: str, chosen: Addresses) -> None:
    """Write the administrator's kubeconfig; the folder `pki` must be filled."""

    def encoded(file: str) -> str:
        content = (paths.cluster(name) / "pki" / file).read_bytes()
        return base64.b64encode(content).decode()

    content = settings.kubeconfig(
        f"labfactory-{name}",
        {
            "server": f"https://{chosen.node}:{settings.API_PORT}",
            "certificate-authority-data": encoded("ca.crt"),
        },
        {
            "client-certificate-data": encoded("admin.crt"),
            "client-key-data": encoded("admin.key"),
        },
    )
    path = paths.kubeconfig(name)
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(json.dumps(content, indent=1))
    new.replace(path)


def tools_of_a_node() -> dict[str, Path]:
    """Tool -> executable. Raises LabError that names all that are missing."""
    found, missing = {}, []
    for name in plan.TOOLS:
        path = tools.find(name)
        if path is None:
            missing.append(name)
        elif any(path.is_relative_to(hidden) for hidden in plan.HIDDEN):
            raise LabError(
                f"{name}: lies in {path.parent}, which the node does not see; move the "
                f"cache with LABFACTORY_CACHE"
            )
        else:
            found[name] = path
    if missing:
        raise LabError(
            f"embedded cluster: {', '.join(missing)} not on this machine yet; "
            f"`lab doctor` says how each is had"
        )
    return found
