"""Buildah with a storage of its own that lives as long as one build."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from labfactory import paths, tools
from labfactory.errors import LabError
from labfactory.progress import Progress, Step

CREATED = "1577836800"
"""2020-01-01: every file of a layer carries it, so equal content is an equal layer.
Not 0, because zip files can't say 1970."""

LOW_BYTES = 50_000_000
"""With less than this left, a failure is the disk's."""


def folder() -> Path:
    """Where the archives are."""
    return paths.cache() / "images"


class Workshop:
    """A work folder and a storage in it, both gone at the end; one at a time per user.

    What an earlier build left behind that was killed is removed at the start. That is
    safe although its children may still run: they have their own folder, and only the
    process that held the lock ever published an archive.
    """

    def __init__(self, progress: Progress) -> None:
        """Open no work folder yet; `progress` hears of a wait for somebody else's."""
        self._progress = progress
        self._lock = FileLock(folder() / "lock")
        self.path = folder()

    def __enter__(self) -> Workshop:
        """Wait for the lock, then make the work folder. Raises LabError."""
        try:
            self._take_lock()
            for leftover in folder().glob("work-*"):
                _remove(leftover)
            for leftover in folder().glob("*.part"):
                leftover.unlink(missing_ok=True)
            self.path = Path(tempfile.mkdtemp(prefix="work-", dir=folder()))
            # apt downloads as a user of its own, which has to reach the folder.
            self.path.chmod(0o755)
            (self.path / "tmp").mkdir()
        except OSError as error:
            self._lock.release()
            raise LabError(
                f"{folder()}: cannot be written ({error.strerror}); "
                "LABFACTORY_CACHE names another folder"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the work folder; turn a failure for want of space into a sentence."""
        full = isinstance(error, (OSError, LabError)) and _disk_full(error)
        _remove(self.path)
        self._lock.release()
        if full:
            free = shutil.disk_usage(folder()).free
            raise LabError(
                f"{folder()}: the disk became full (building images takes about 4 GB "
                f"for a few minutes, {free / 1e9:.1f} GB are free); "
                "make room and run the command again"
            ) from error

    def _take_lock(self) -> None:
        folder().mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            with self._progress.step("wait for images that somebody else builds"):
                self._lock.acquire()

    def build(
        self, reference: str, context: Path, step: Step, *, base: str | None
    ) -> None:
        """Build the Containerfile of `context`; RUN sees no registry of the host.

        An image that stands on `base` needs it in the storage.
        """
        self._buildah(
            step,
            *("build", "--network", "none", "--pull-never", "--timestamp", CREATED),
            *(("--build-arg", f"BASE={base}") if base else ()),
            *("--tag", reference, "--file", context / "Containerfile", context),
        )

    def save(self, reference: str, target: Path, step: Step) -> None:
        """Write the image to the archive `target`, which appears when it is whole."""
        part = target.with_suffix(".part")
        part.unlink(missing_ok=True)
        self._buildah(
            step,
            *("push", "--quiet", "--compression-format", "zstd"),
            *(reference, f"oci-archive:{part}:{reference}"),
        )
        part.rename(target)

    def restore(self, source: Path, step: Step) -> None:
        """Take an image into the storage, under the reference it was saved with."""
        self._buildah(step, "pull", "--quiet", f"oci-archive:{source}")

    def publish(self, reference: str, destination: str, step: Step) -> None:
        """Push an image of the storage to a registry."""
        self._buildah(step, "push", "--quiet", reference, f"docker://{destination}")

    def _buildah(self, step: Step, *arguments: str | Path) -> None:
        if not (self.path / "storage.conf").exists():
            self._choose_storage()
        step.run([tools.path("buildah"), *arguments], env=self._environment())

    def _choose_storage(self) -> None:
        # overlay copies nothing; it does not work on every file system.
        self._write_storage("overlay")
        result = subprocess.run(
            [tools.path("buildah"), "info"],
            env={**os.environ, **self._environment()},
            capture_output=True,
            check=False,
        )
        if result.returncode != 0:
            self._write_storage("vfs")

    def _write_storage(self, driver: str) -> None:
        # The user's own settings and storage stay out of it.
        (self.path / "storage.conf").write_text(
            f'[storage]\ndriver = "{driver}"\n'
            f'graphroot = "{self.path}/{driver}"\nrunroot = "{self.path}/run"\n'
        )

    def _environment(self) -> dict[str, str]:
        return {
            "BUILDAH_ISOLATION": "chroot",
            "CONTAINERS_STORAGE_CONF": str(self.path / "storage.conf"),
            "TMPDIR": str(self.path / "tmp"),
        }


def _disk_full(error: OSError | LabError) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    free = shutil.disk_usage(folder()).free
    return free < LOW_BYTES or "no space left on device" in str(error).lower()


def _remove(path: Path) -> None:
    """Delete a work folder, with what a killed buildah left mounted in it."""
    mounts = Path("/proc/self/mounts")
    if mounts.exists():
        points = [
            line.split()[1].encode().decode("unicode_escape")
            for line in mounts.read_text().splitlines()
        ]
        for point in reversed(points):
            if Path(point).is_relative_to(path):
                subprocess.run(
                    ["umount", "--lazy", point], capture_output=True, check=False
                )
    shutil.rmtree(path, ignore_errors=True)
