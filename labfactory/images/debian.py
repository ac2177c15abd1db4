"""The Debian root that images stand on, from the package sources of this machine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from labfactory import tools
from labfactory.progress import Step

SUITE = "bookworm"
PYTHON = "3.11"
"""Python of the suite."""

MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh"
"""Makes /bin, /lib and /sbin links into /usr, as on every Debian since 12."""

APT = Path("/etc/apt")


def root(context: Path, work: Path, step: Step) -> None:
    """Make `root.tar` in `context` out of the packages that its `packages` names.

    Packages are unpacked without running their scripts, which takes 13 seconds where
    installing them takes 108. Raises LabError.
    """
    options = work / "apt.conf"
    options.touch(mode=0o600)  # a proxy's address may hold a password
    options.write_text(apt_options())
    mirrors = []
    for index, text in enumerate(sources(APT)):
        mirror = work / f"sources-{index}{'.sources' if 'URIs:' in text else '.list'}"
        mirror.write_text(text + "\n")
        mirrors.append(mirror)
    step.run(
        [
            tools.path("mmdebstrap"),
            *("--variant=extract", "--format=tar"),
            "--skip=output/dev",
            f"--setup-hook={MERGED_USR}",
            f"--aptopt={options}",
            "--include=" + ",".join(packages(context / "packages")),
            SUITE,
            context / "root.tar",
            *mirrors,
        ],
        env={"TMPDIR": str(work / "tmp")},
    )


def packages(path: Path) -> list[str]:
    """The names in a list of packages, one per line, with comments."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def sources(apt: Path) -> list[str]:
    """Return the entries of `/etc/apt` for Debian's own archive in the suite.

    One string per entry, in either of apt's two spellings. Other people's archives are
    left out: they are not needed, and one that is down would stop the build. An empty
    list (another release of Debian) lets mmdebstrap use Debian's official mirror.
    """
    listed = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]
    found = [
        line.strip()
        for path in listed
        if path.exists()
        for line in path.read_text().splitlines()
        if _wanted_line(line)
    ]
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        found += _stanzas(path.read_text())
    return found


def apt_options() -> str:
    """How this machine's apt reaches its sources: proxies, certificates, time-outs."""
    dump = subprocess.run(
        ["apt-config", "dump"], capture_output=True, text=True, check=False
    ).stdout
    kept = re.compile(
        r"Acquire::(?!IndexTargets|CompressionTypes|Changelogs|cdrom|Languages)\S"
    )
    lines = [line for line in dump.splitlines() if kept.match(line)]
    own = ['APT::Install-Recommends "false";', 'Acquire::Languages "none";']
    return "\n".join([*lines, *own]) + "\n"


def _suites() -> frozenset[str]:
    return frozenset((SUITE, f"{SUITE}-updates", f"{SUITE}-security"))


def _wanted_line(line: str) -> bool:
    match = re.match(r"deb\s+(?:\[[^]]*\]\s+)?\S+\s+(\S+)\s+(.*)", line.strip())
    return bool(match and match[1] in _suites() and "main" in match[2].split())


def _stanzas(text: str) -> Iterator[str]:
    without_comments = re.sub(r"(?m)^#.*\n?", "", text)
    for stanza in re.split(r"\n\s*\n", without_comments):
        fields = {
            key.lower(): set(value.split())
            for key, value in re.findall(r"(?m)^([\w-]+):[ \t]*(.*)$", stanza)
        }
        if (
            "deb" in fields.get("types", ())
            and "no" not in fields.get("enabled", ())
            and "main" in fields.get("components", ())
            and fields.get("suites", set()) & _suites()
        ):
            yield stanza.strip()
