"""The environment in which plain `pulumi` works on this lab's stacks."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labfactory import paths
from labfactory.check import pack
from labfactory.errors import LabError


def variables(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what Pulumi needs and `given` does not say already.

    Whoever keeps state in a backend of their own sets PULUMI_BACKEND_URL and
    PULUMI_CONFIG_PASSPHRASE (or PULUMI_CONFIG_PASSPHRASE_FILE); both are left alone.
    `pulumi up --policy-pack $LABFACTORY_POLICIES` looks at the policies.
    """
    home = Path(given.get("PULUMI_HOME") or pulumi_home())
    found: dict[str, str] = {
        "LABFACTORY_VENV": sys.prefix,
        "LABFACTORY_POLICIES": str(pack.twin(home)),
        # Pulumi's default of four per core waits for pods and not for the processor.
        "PULUMI_PARALLEL": given.get("PULUMI_PARALLEL", "32"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "KUBECONFIG": _kubeconfigs(given.get("KUBECONFIG")),
        "PATH": _search_path(given.get("PATH", os.defpath)),
    }
    if "PULUMI_HOME" not in given:
        found["PULUMI_HOME"] = str(home)
        _forgo_logs(home / "logs")
    if "PULUMI_BACKEND_URL" not in given:
        state = paths.data() / "pulumi"
        state.mkdir(parents=True, exist_ok=True)
        found["PULUMI_BACKEND_URL"] = f"file://{state}"
    if not {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & {*given}:
        found["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(passphrase_file())
    return found


def shell_lines() -> str:
    """The variables as lines for `eval`."""
    return "\n".join(
        f"export {name}={shlex.quote(value)}" for name, value in variables().items()
    )


def pulumi_home() -> Path:
    """Where Pulumi keeps its plugins and which stack is selected."""
    given = os.environ.get("PULUMI_HOME")
    return Path(given) if given else paths.data() / "pulumi-home"


def kubernetes(context: str) -> Any:
    """A client of the cluster `context`, found where `kubectl` would find it.

    Raises LabError when no kubeconfig has that context.
    """
    from kubernetes import config
    from kubernetes.config import ConfigException

    files = _kubeconfigs(os.environ.get("KUBECONFIG"))
    try:
        return config.new_client_from_config(config_file=files, context=context)
    except ConfigException:
        raise LabError(_no_context(context, files)) from None


def cluster(context: str, namespace: str) -> Any:
    """A light client of the cluster `context`, for what has to be quick.

    It takes a tenth of the time that the other one takes to import. Raises LabError
    when no kubeconfig has that context.
    """
    from lightkube import Client, KubeConfig
    from lightkube.core.exceptions import ConfigError

    files = _kubeconfigs(os.environ.get("KUBECONFIG"))
    for file in files.split(os.pathsep):
        try:
            found = KubeConfig.from_file(file)
            if context in found.contexts:
                config = found.get(context_name=context)
                return Client(config, namespace, lazy=False, trust_env=False)
        except ConfigError:
            continue  # one that is not there, or cannot be read, has no context
    raise LabError(_no_context(context, files))


def passphrase_file() -> Path:
    """The file with the random passphrase of this user's stacks, made once."""
    path = paths.data() / "passphrase"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32))
    return path


def _no_context(context: str, files: str) -> str:
    return (
        f"context {context!r}: no kubeconfig has it (looked in {files}); "
        f"`kubectl config get-contexts` lists what there is"
    )


def _forgo_logs(folder: Path) -> None:
    """Put a file where Pulumi would keep its logs.

    It writes every message of every run there, megabytes that take a third of the
    run's time, and has no switch for it. `pulumi -v=9 --logtostderr` still logs.
    """
    if not folder.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.touch()


def _kubeconfigs(given: str | None) -> str:
    """Every embedded cluster's kubeconfig, then whatever the user has."""
    own = sorted((paths.data() / "clusters").glob("*/kubeconfig"))
    theirs = (given or str(Path.home() / ".kube" / "config")).split(os.pathsep)
    files = [*map(str, own), *(file for file in theirs if file)]
    return os.pathsep.join(dict.fromkeys(files))


def _search_path(given: str) -> str:
    from labfactory import tools  # its table and builders are for few commands

    folders = [*map(str, tools.bin_paths()), *given.split(os.pathsep)]
    return os.pathsep.join(dict.fromkeys(folders))
