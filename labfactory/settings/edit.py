"""Edit a stack file: compute what it would become, look at it, put it in its place."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from labfactory.errors import LabError
from labfactory.settings.rewrite import rewrite
from stacks import load, text
from stacks.schema import LabConfig


@dataclass(frozen=True)
class Edit:
    """A stack file before and after an edit; nothing is written yet."""

    path: Path
    before: bytes
    after: bytes

    @cached_property
    def settings(self) -> LabConfig:
        """The lab's settings after the edit."""
        return load.parse_file(self.after, source=load.named(self.path))

    def write(self) -> None:
        """Replace the file at once or not at all, keeping its mode and links to it.

        Raises LabError when it has changed since it was read, or can't be written.
        """
        path = self.path.resolve()
        name = load.named(self.path)
        try:
            if path.read_bytes() != self.before:
                raise LabError(
                    f"{name}: has changed since it was read, and is left as it is now; "
                    "look at the change and run the command again"
                )
            if self.after != self.before:
                _replace(path, self.after)
        except OSError as error:
            raise LabError(
                f"{name}: cannot be written ({error.strerror}), and is left as it was; "
                "make room or mend its folder's mode, and run the command again"
            ) from None


def edit(path: Path, operation: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Edit:
    """Compute what `operation` makes of the settings in a stack file; write nothing.

    `operation` is given the tree of `labfactory:lab` and returns another one, such as
    those of labfactory.releases.changes. Raises what that does, and `rewrite`.
    """
    load.read(path)
    before = path.read_bytes()
    lab = text.parse(before).data[load.LAB[0]][load.LAB[1]]
    return Edit(path, before, rewrite(before, operation(lab), source=load.named(path)))


def _replace(path: Path, content: bytes) -> None:
    """Write the whole file beside the old one, then put it in its place."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, name)
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
