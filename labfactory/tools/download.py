"""Official release files: fetched within seconds or not at all, and verified."""

from __future__ import annotations

import bz2
import hashlib
import shutil
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx

from labfactory.errors import LabError
from labfactory.progress import Step
from labfactory.tools.ways import ARCHITECTURE, Download

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 15.0
PROBE_SECONDS = 3.0
MINIMUM_RATE = 200_000.0
"""Bytes per second; below that, after `SILENCE_SECONDS`, building is quicker."""

_answers: dict[str, bool] = {}


def address(download: Download) -> str:
    """The address of the release file for this machine."""
    arch = download.architectures.get(ARCHITECTURE, ARCHITECTURE)
    return download.url.format(arch=arch)


def offered(download: Download) -> bool:
    """Whether there is a file for this machine that can be verified."""
    known = ARCHITECTURE in download.architectures
    return known and bool(download.sums or ARCHITECTURE in download.sha256)


def reachable(downloads: Iterable[Download]) -> set[str]:
    """The hosts among those of `downloads` that answer, asked once per process.

    All are asked at the same time; it takes `PROBE_SECONDS` at most.
    """
    bases = {_base(address(download)) for download in downloads}
    threads = [
        threading.Thread(target=_probe, args=(base,), daemon=True)
        for base in bases
        if base not in _answers
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + PROBE_SECONDS
    for thread in threads:
        # A resolver can hang for longer than any time-out of a connection.
        thread.join(max(0.0, end - time.monotonic()))
    return {base for base in bases if _answers.setdefault(base, False)}


def answers(download: Download) -> bool:
    """Whether the download's host was found to answer."""
    return _answers.get(_base(address(download)), False)


def fetch(download: Download, folder: Path, step: Step) -> None:
    """Put the release's files into `folder`, executable and verified.

    Raises LabError when the file cannot be had whole and genuine.
    """
    url = address(download)
    archive = folder / ".download"
    try:
        with httpx.Client(follow_redirects=True, timeout=_timeout()) as client:
            expected = _expected(client, download, step)
            actual = _save(client, url, archive, step)
    except httpx.HTTPError as error:
        raise LabError(
            f"{url}: cannot be fetched ({error or type(error).__name__})"
        ) from None
    if actual != expected:
        raise LabError(
            f"{url}: is not what was published (sha256 {actual}, expected {expected})"
        )
    _unpack(download, url, archive, folder)
    archive.unlink(missing_ok=True)


def _timeout() -> httpx.Timeout:
    return httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)


def _base(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _probe(base: str) -> None:
    try:
        httpx.head(base, timeout=PROBE_SECONDS)
    except httpx.HTTPError:
        return
    _answers.setdefault(base, True)


def _expected(client: httpx.Client, download: Download, step: Step) -> str:
    pinned = download.sha256.get(ARCHITECTURE)
    if pinned:
        return pinned
    file = address(download).rpartition("/")[2]
    arch = download.architectures.get(ARCHITECTURE, ARCHITECTURE)
    url = download.sums.format(arch=arch)
    step.write(f"GET {url}")
    answer = client.get(url)
    answer.raise_for_status()
    lines = [line.split() for line in answer.text.splitlines() if line.strip()]
    for words in lines:
        named = words[-1].lstrip("*") == file
        if len(words[0]) == 64 and (named or len(lines) == 1):
            return words[0].lower()
    raise LabError(f"{url}: does not say the checksum of {file}")


def _save(client: httpx.Client, url: str, target: Path, step: Step) -> str:
    """Write the body to `target`; return its sha256."""
    step.write(f"GET {url}")
    digest = hashlib.sha256()
    size, started = 0, time.monotonic()
    with client.stream("GET", url) as answer, target.open("wb") as file:
        answer.raise_for_status()
        for chunk in answer.iter_raw(1 << 20):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            elapsed = time.monotonic() - started
            if elapsed > SILENCE_SECONDS and size / elapsed < MINIMUM_RATE:
                raise LabError(f"{url}: too slow ({size / elapsed / 1000:.0f} kB/s)")
    step.write(f"{size} bytes")
    return digest.hexdigest()


def _unpack(download: Download, url: str, archive: Path, folder: Path) -> None:
    if not download.files:
        _executable(archive, folder / url.rpartition("/")[2])
        return
    for inside, source in _entries(url, archive):
        name = download.files.get(inside)
        if name:
            with (folder / name).open("wb") as file:
                shutil.copyfileobj(source, file)
            (folder / name).chmod(0o755)
    absent = {name for name in download.files.values() if not (folder / name).exists()}
    if absent:
        raise LabError(f"{url}: does not contain {', '.join(sorted(absent))}")


def _entries(url: str, archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The files of an archive by name; the one in a .bz2 has none."""
    if url.endswith(".bz2"):
        with bz2.open(archive) as only:
            yield "", only
    elif url.endswith(".zip"):
        with zipfile.ZipFile(archive) as zipped:
            for name in zipped.namelist():
                with zipped.open(name) as source:
                    yield name, source
    else:
        with tarfile.open(archive, "r:*") as tar:
            for entry in tar:
                if file := tar.extractfile(entry):
                    yield entry.name.removeprefix("./"), file


def _executable(source: Path, target: Path) -> None:
    source.rename(target)
    target.chmod(0o755)
