"""What copies a lab's data: rows of the table of tools."""

from __future__ import annotations

from labfactory.tools.ways import Download, Tool, Unpacked

_ARCHITECTURES = ("amd64", "arm64")


def _copier(
    name: str, version: str, revision: str, *, file: str, files: dict[str, str]
) -> Tool:
    """A program that Debian has, and that its project releases as one file.

    Debian's first: unlike the release it gets security updates. To take one, raise
    `revision` here and in the Containerfile of the image `keeper`, which gives it a new
    tag.
    """
    root = f"https://github.com/{name}/{name}/releases/download/v{version}"
    return Tool(
        name=name,
        version=version,
        unpacked=Unpacked(
            package=name,
            executable=f"usr/bin/{name}",
            at_least=f"{version}{revision}",
        ),
        download=Download(url=f"{root}/{file}", files=files, sums=f"{root}/SHA256SUMS"),
    )


COPIERS = (
    _copier(
        *("restic", "0.14.0", "-1"),
        file="restic_0.14.0_linux_{arch}.bz2",
        files={"": "restic"},
    ),
    _copier(
        *("rclone", "1.60.1", "+dfsg-2"),
        file="rclone-v1.60.1-linux-{arch}.zip",
        files={
            f"rclone-v1.60.1-linux-{arch}/rclone": "rclone" for arch in _ARCHITECTURES
        },
    ),
)
