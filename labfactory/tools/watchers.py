"""What watches a lab, of the Prometheus project: rows of the table of tools."""

from __future__ import annotations

from labfactory.tools.ways import Download, Tool, Unpacked


def _watcher(
    name: str,
    version: str,
    revision: str,
    *,
    package: str,
    release: str,
    inside: str,
    beside: tuple[str, ...] = (),
) -> Tool:
    """A program of the Prometheus project.

    Its Debian package first: unlike the release file it gets security updates. To take
    one, raise `revision` here and in the label of the image's Containerfile, which
    gives the image a new tag.
    """
    file = f"{release.rpartition('/')[2]}-{version}.linux"
    root = f"https://github.com/{release}/releases/download/v{version}"
    return Tool(
        name=name,
        version=version,
        unpacked=Unpacked(
            package=package,
            executable=f"usr/bin/{inside}",
            at_least=f"{version}{revision}",
            beside=beside,
        ),
        download=Download(
            url=f"{root}/{file}-{{arch}}.tar.gz",
            files={f"{file}-{arch}/{name}": name for arch in ("amd64", "arm64")},
            sums=f"{root}/sha256sums.txt",
        ),
    )


def _prometheus(name: str) -> Tool:
    return _watcher(
        *(name, "2.42.0", "+ds-5+deb12u1"),
        package="prometheus",
        release="prometheus/prometheus",
        inside=name,
    )


def _alertmanager(name: str, inside: str, *beside: str) -> Tool:
    return _watcher(
        *(name, "0.25.0", "-1"),
        package="prometheus-alertmanager",
        release="prometheus/alertmanager",
        inside=inside,
        beside=beside,
    )


WATCHERS = (
    _prometheus("prometheus"),
    _prometheus("promtool"),
    # Debian's build reads from disk what upstream's has in itself.
    _alertmanager(
        *("alertmanager", "prometheus-alertmanager"),
        "usr/share/prometheus/alertmanager/default.tmpl",
        "usr/share/prometheus/alertmanager/email.tmpl",
    ),
    _alertmanager("amtool", "amtool"),
    _watcher(
        *("postgres_exporter", "0.11.1", "-3"),
        package="prometheus-postgres-exporter",
        release="prometheus-community/postgres_exporter",
        inside="prometheus-postgres-exporter",
    ),
)
