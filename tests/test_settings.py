"""What a stack file may say, and what a person reads who wrote something else."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pulumi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from labfactory.errors import LabError
from labfactory.settings import table
from stacks import editor, load, text
from stacks.explain import written
from stacks.load import SettingsError
from stacks.schema import LabConfig

TEMPLATES = ("mlflow", "sklearn")
DIGEST = f"sha256:{'0a' * 32}"
FILE = f"""\
config:
  labfactory:seed:
    secure: v1:abc
  labfactory:lab:
    name: demo
    owner: vision
    credentials_issued: "2026-11-21"
    cluster: {{target: embedded, name: demo}}
    platform: {{kind: own}}
    storage:
      kind: minio
      capacity: 20Gi
      buckets: [mlflow, datasets]
    tracking: {{capacity: 5Gi, bucket: mlflow}}
    releases:
      iris:
        template: mlflow
        replicas: 1
        variants:
          v1:
            version: 1
            artifact: "s3://mlflow/1/models/m-1/artifacts"
            digest: "{DIGEST}"
            role: stable
            traffic: 100
"""
VARIANT = FILE[FILE.index("          v1:") :]


class Mistake(NamedTuple):
    """Replace `old` in FILE by `new`, and read `report`."""

    name: str
    old: str
    new: str
    report: str


SIZE = "is not a size; write a whole number above zero with Mi, Gi or Ti, such as 20Gi"
LABEL = "write lower-case letters, digits and hyphens, beginning with a letter"
GROUP = "write its settings below it, as KEY: VALUE"
WHOLE = "is not a whole number; write it without quotes, point or unit"
POD = "shorten it: the names of its pods are made from it and may have 63 characters"
MISTAKES = [
    Mistake(
        "a key with a typo",
        "      capacity: 20Gi",
        "      capacity: 20Gi\n      capcity: 20Gi",
        "f:13: storage.capcity: is not a setting (there is: kind, capacity, buckets); "
        'did you mean "capacity"?',
    ),
    Mistake(
        "a key that resembles nothing",
        "    tracking: {",
        "    tracking: {colour: 1, ",
        "f:14: tracking.colour: is not a setting (there is: capacity, bucket); "
        "remove it or choose one of these",
    ),
    Mistake(
        "a section indented too far",
        "    tracking: {",
        "      tracking: {",
        "f:4: tracking: is missing; add it: experiment tracking and model registry\n"
        "f:14: storage.tracking: belongs directly below labfactory:lab; indent it less",
    ),
    Mistake(
        "a setting of the other kind",
        "      capacity: 20Gi",
        "      capacity: 20Gi\n      region: eu-west-1",
        "f:13: storage.region: is a setting of `kind: s3` only; remove it or change "
        "`kind`",
    ),
    Mistake(
        "a decimal unit",
        "20Gi",
        "20GB",
        f'f:12: storage.capacity: {SIZE}; did you mean "20Gi"?',
    ),
    Mistake(
        "a size without a unit",
        "20Gi",
        "20",
        f'f:12: storage.capacity: {SIZE}; did you mean "20Gi"?',
    ),
    Mistake("a negative size", "20Gi", "-20Gi", f"f:12: storage.capacity: {SIZE}"),
    Mistake("a size of zero", "20Gi", "0Gi", f"f:12: storage.capacity: {SIZE}"),
    Mistake(
        "a size without a value",
        "capacity: 20Gi",
        "capacity:",
        "f:12: storage.capacity: has no value; write a whole number above zero with "
        "Mi, Gi or Ti, such as 20Gi",
    ),
    Mistake(
        "a version with a decimal point",
        "version: 1",
        "version: 1.10",
        f"f:21: releases.iris.variants.v1.version: {WHOLE}",
    ),
    Mistake(
        "a version in quotes",
        "version: 1",
        'version: "1"',
        f"f:21: releases.iris.variants.v1.version: {WHOLE}",
    ),
    Mistake(
        "a version of zero",
        "version: 1",
        "version: 0",
        "f:21: releases.iris.variants.v1.version: is too small; write at least 1",
    ),
    Mistake(
        "a key twice",
        "    owner: vision",
        "    owner: vision\n    owner: speech",
        "f:6: owner: is there twice (lines 6 and 7); keep one",
    ),
    Mistake(
        "a release twice",
        "    releases:\n",
        f"    releases:\n      iris:\n        template: mlflow\n        variants:\n"
        f"{VARIANT}",
        "f:16: releases.iris: is there twice (lines 16 and 25); keep one",
    ),
    Mistake(
        "a release's name that is too long",
        "      iris:",
        f"      {'i' * 25}:",
        f"f:16: releases.{'i' * 25}: is too long (25 characters, at most 24); {POD}",
    ),
    Mistake(
        "a release's name that is none",
        "      iris:",
        "      Iris_Model:",
        f"f:16: releases.Iris_Model: is not a release's name; {LABEL}",
    ),
    Mistake(
        "a release with the tracker's name",
        "      iris:",
        "      mlflow:",
        "f:16: releases.mlflow: is taken by the lab or its cluster (feedback, minio, "
        "mlflow, postgres are); choose another name",
    ),
    Mistake(
        "a variant's name with a hyphen",
        "          v1:",
        "          v-1:",
        "f:20: releases.iris.variants.v-1: is not a variant's name; write lower-case "
        "letters and digits, beginning with a letter",
    ),
    Mistake(
        "a lab in the cluster's own namespace",
        "    name: demo",
        "    name: kube-system",
        "f:5: name: is taken by the lab or its cluster (default, kserve, "
        "kube-node-lease, kube-public, kube-system, local-path-storage, projectcontour "
        "are); choose another name",
    ),
    Mistake(
        "a template that does not exist",
        "template: mlflow",
        "template: mlflwo",
        "f:17: releases.iris.template: is not a model template (there is: mlflow, "
        'sklearn); choose one of these; did you mean "mlflow"?',
    ),
    Mistake(
        "a tracking bucket that does not exist",
        "bucket: mlflow}",
        "bucket: datasetz}",
        "f:14: tracking.bucket: is a bucket that the lab does not have (it has: "
        "mlflow, datasets); add the bucket to `storage.buckets` or choose one of "
        'these; did you mean "datasets"?',
    ),
    Mistake(
        "an artifact in a bucket that does not exist",
        "s3://mlflow/",
        "s3://elsewhere/",
        "f:22: releases.iris.variants.v1.artifact: is in a bucket that the lab does "
        "not have (it has: mlflow, datasets); add the bucket to `storage.buckets` or "
        "choose one of these",
    ),
    Mistake(
        "an artifact without a folder",
        "s3://mlflow/1/models/m-1/artifacts",
        "s3://mlflow",
        "f:22: releases.iris.variants.v1.artifact: is not an artifact's address; write "
        "s3://BUCKET/FOLDER, where the model lies, without a slash at the end",
    ),
    Mistake(
        "a digest that is too short",
        DIGEST,
        "sha256:0a0a",
        "f:23: releases.iris.variants.v1.digest: is not a digest; write sha256: and "
        "the 64 lower-case hexadecimal digits of the artifact's digest",
    ),
    Mistake(
        "weights that leave requests unanswered",
        "traffic: 100",
        "traffic: 90",
        "f:19: releases.iris.variants: get 90 per cent of the requests together; "
        "let their `traffic` sum to 100",
    ),
    Mistake(
        "a negative weight",
        "traffic: 100",
        "traffic: -1",
        "f:19: releases.iris.variants: get -1 per cent of the requests together; "
        "let their `traffic` sum to 100\n"
        "f:25: releases.iris.variants.v1.traffic: is too small; write at least 0",
    ),
    Mistake(
        "two stable variants",
        VARIANT,
        VARIANT.replace("100", "50")
        + VARIANT.replace("100", "50").replace("v1", "v2").replace("n: 1", "n: 2"),
        "f:19: releases.iris.variants: has 2 variants with the role stable; "
        "keep exactly one",
    ),
    Mistake(
        "no stable variant",
        "role: stable",
        "role: candidate",
        "f:19: releases.iris.variants: has 0 variants with the role stable; "
        "give it to exactly one",
    ),
    Mistake(
        "a role that does not exist",
        "role: stable",
        "role: stabel",
        "f:24: releases.iris.variants.v1.role: is not a known value; write stable or "
        'candidate or shadow or previous or rejected; did you mean "stable"?',
    ),
    Mistake(
        "a release without variants",
        f"        variants:\n{VARIANT}",
        "        variants: {}\n",
        "f:19: releases.iris.variants: is empty; add at least one entry",
    ),
    Mistake(
        "a release without anything",
        FILE[FILE.index("      iris:") :],
        "      iris:\n",
        f"f:16: releases.iris: is empty; {GROUP}, or remove the line",
    ),
    Mistake(
        "no replicas",
        "replicas: 1",
        "replicas: 0",
        "f:18: releases.iris.replicas: is too small; write at least 1",
    ),
    Mistake(
        "processor time as a fraction",
        "replicas: 1",
        "resources: {limits: {cpu: 0.5}}",
        "f:18: releases.iris.resources.limits.cpu: is not a share of processors; write "
        'thousandths of a core above zero, such as 500m; did you mean "500m"?',
    ),
    Mistake(
        "a request above its limit",
        "replicas: 1",
        "resources: {requests: {memory: 4Gi}}",
        "f:18: releases.iris.resources: asks for more memory than it allows "
        "(requests.memory is above limits.memory, which is 2Gi unless said); raise the "
        "limit or lower the request",
    ),
    Mistake(
        "a list instead of names",
        FILE[FILE.index("    releases:") :],
        "    releases: [iris]\n",
        f"f:15: releases: is a list and not a group of settings; {GROUP}",
    ),
    Mistake(
        "a text instead of a section",
        "tracking: {capacity: 5Gi, bucket: mlflow}",
        "tracking: mlflow",
        f"f:14: tracking: is a text and not a group of settings; {GROUP}",
    ),
    Mistake(
        "a text instead of a list",
        "[mlflow, datasets]",
        "mlflow",
        "f:13: storage.buckets: is a text and not a list; write [ONE, TWO]",
    ),
    Mistake(
        "a section without content",
        "tracking: {capacity: 5Gi, bucket: mlflow}",
        "tracking:",
        f"f:14: tracking: is empty; {GROUP}, or remove the line",
    ),
    Mistake(
        "a bucket's name that S3 refuses",
        "[mlflow, datasets]",
        "[mlflow, data_sets]",
        "f:13: storage.buckets[1]: is not a bucket's name; write 3 to 63 lower-case "
        "letters, digits and hyphens",
    ),
    Mistake(
        "a bucket twice",
        "[mlflow, datasets]",
        "[mlflow, mlflow]",
        "f:13: storage.buckets: has the same name twice; keep one of the two",
    ),
    Mistake(
        "no buckets",
        "[mlflow, datasets]",
        "[]",
        "f:13: storage.buckets: is empty; add at least one entry",
    ),
    Mistake(
        "a setting that is missing",
        "    owner: vision\n",
        "",
        "f:4: owner: is missing; add it: team that the lab belongs to",
    ),
    Mistake(
        "a kind that is missing",
        "{kind: own}",
        "{}",
        "f:9: platform.kind: is missing; add it: own or shared",
    ),
    Mistake(
        "a kind that does not exist",
        "kind: minio",
        "kind: minoi",
        "f:11: storage.kind: is not a known value; write minio or s3; "
        'did you mean "minio"?',
    ),
    Mistake(
        "a gateway without its namespace",
        "{kind: own}",
        "{kind: shared, gateway: lab}",
        "f:9: platform.gateway: is not a gateway; write its namespace and its name, "
        "such as projectcontour/lab",
    ),
    Mistake(
        "an image that can change under its name",
        "{target: embedded, name: demo}",
        '{target: existing, context: c, images: {minio: "quay.io/minio/minio:latest"}}',
        "f:8: cluster.images.minio: is not a pinned image; write HOST/NAME:TAG with a "
        "tag other than latest, or HOST/NAME@sha256:DIGEST",
    ),
    Mistake(
        "a registry with a scheme",
        "{target: embedded, name: demo}",
        '{target: existing, context: c, registry: "https://registry.example.com"}',
        "f:8: cluster.registry: is not a registry's address; write a host and a path "
        "without https://, such as registry.example.com/labfactory",
    ),
    Mistake(
        "a day that does not exist",
        '"2026-11-21"',
        "2026-13-45",
        "f:7: credentials_issued: is not a date; write year-month-day, such as "
        '"2026-11-21"',
    ),
    Mistake(
        "a day as a number",
        '"2026-11-21"',
        "20261121",
        "f:7: credentials_issued: is not a date; write year-month-day, such as "
        '"2026-11-21"',
    ),
    Mistake(
        "the seed in plain text",
        "\n    secure: v1:abc",
        " hunter2",
        "f:2: config.labfactory:seed: is in plain text; replace the secret, which "
        "others may have read, by `pulumi config set --secret labfactory:seed`",
    ),
    Mistake(
        "a password among the settings",
        "    owner: vision",
        "    owner: vision\n    minio_password: hunter2",
        "f:7: minio_password: is not a setting, and secrets do not belong here; remove "
        "it, replace the secret where it is in use, and give secrets to "
        "`pulumi config set --secret`",
    ),
    Mistake(
        "a password in the endpoint",
        "kind: minio\n      capacity: 20Gi",
        'kind: s3\n      region: eu-west-1\n      endpoint: "https://me:hunter2@s3"',
        "f:13: storage.endpoint: carries a user name or a password; write only "
        "https://HOST, replace the password where it is in use, and set the keys with "
        "`pulumi config set --secret labfactory:s3-tracking-key-id` and so on",
    ),
    Mistake(
        "an endpoint with a path",
        "kind: minio\n      capacity: 20Gi",
        'kind: s3\n      region: eu-west-1\n      endpoint: "https://s3/bucket"',
        "f:13: storage.endpoint: is not an endpoint; write https://HOST or "
        "https://HOST:PORT without a path",
    ),
    Mistake(
        "a project's name with a typo",
        "labfactory:lab:",
        "labfactry:lab:",
        "f:4: config.labfactry:lab: is not a setting of labfactory; "
        'did you mean "labfactory:lab"?',
    ),
    Mistake(
        "no project's name",
        "labfactory:lab:",
        "lab:",
        "f:4: config.lab: is not a setting of labfactory (labfactory:lab, "
        "labfactory:seed, labfactory:s3-tracking-key-id, labfactory:s3-tracking-secret"
        ", labfactory:s3-serving-key-id, labfactory:s3-serving-secret, "
        "labfactory:s3-predictions-key-id, labfactory:s3-predictions-secret, "
        "labfactory:s3-batch-key-id, labfactory:s3-batch-secret, "
        "labfactory:s3-feedback-key-id, labfactory:s3-feedback-secret, "
        "labfactory:s3-backup-key-id, labfactory:s3-backup-secret, "
        "labfactory:s3-restore-key-id, labfactory:s3-restore-secret, "
        "labfactory:backup-store-key-id, labfactory:backup-store-secret, "
        "labfactory:external-NAME, labfactory:alerts-NAME are); remove it",
    ),
    Mistake(
        "a file without settings",
        FILE,
        "# nothing yet\n",
        "f: config: is missing (the file has no settings); `./lab new NAME` writes a "
        "file that has them",
    ),
    Mistake(
        "settings without content",
        FILE,
        "config:\n  labfactory:lab:\n",
        f"f:2: labfactory:lab: is empty; {GROUP}, or remove the line",
    ),
    Mistake(
        "no settings of ours",
        FILE,
        "config:\n  aws:region: eu-west-1\n",
        "f:1: labfactory:lab: is missing; `./lab new NAME` writes a stack file "
        "that has it",
    ),
    Mistake(
        "a seed in plain text and no settings",
        FILE,
        "config:\n  labfactory:seed: hunter2\n",
        "f:1: labfactory:lab: is missing; `./lab new NAME` writes a stack file that "
        "has it\n"
        "f:2: config.labfactory:seed: is in plain text; replace the secret, which "
        "others may have read, by `pulumi config set --secret labfactory:seed`",
    ),
    Mistake(
        "a typo at the top",
        "config:\n",
        "confg:\n",
        "f: config: is missing; write labfactory:lab and its settings below it\n"
        'f:1: confg: is not a key of a stack file; did you mean "config"?',
    ),
    Mistake(
        "a tab",
        "    owner:",
        "\towner:",
        "f:6: is not YAML (a tab indents it); indent with spaces",
    ),
    Mistake(
        "a bracket that is not closed",
        "[mlflow, datasets]",
        "[mlflow, datasets",
        "f:14: is not YAML; compare indentation, colons, brackets and quotes of this "
        "line with the ones above",
    ),
    Mistake(
        "a reference to nothing",
        "owner: vision",
        "owner: *hunter2",
        "f:6: is not YAML (`*` begins a reference); quote texts that begin with *",
    ),
    Mistake(
        "two documents",
        "    owner:",
        "---\n    owner:",
        "f:6: is not one YAML document but several; remove the lines `---`",
    ),
    Mistake(
        "two problems at once",
        "20Gi\n      buckets: [mlflow, datasets]",
        "20GB\n      buckets: [datasets]",
        f'f:12: storage.capacity: {SIZE}; did you mean "20Gi"?\n'
        "f:14: tracking.bucket: is a bucket that the lab does not have (it has: "
        "datasets); add the bucket to `storage.buckets` or choose one of these\n"
        "f:22: releases.iris.variants.v1.artifact: is in a bucket that the lab does "
        "not have (it has: datasets); add the bucket to `storage.buckets` or choose "
        "one of these",
    ),
]


def read(content: str) -> LabConfig:
    return load.parse_file(content.encode(), source="f", templates=TEMPLATES)


def report(content: str) -> str:
    with pytest.raises(SettingsError) as error:
        read(content)
    return str(error.value)


def lab() -> dict[str, Any]:
    found: dict[str, Any] = text.parse(FILE.encode()).data["config"]["labfactory:lab"]
    return found


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    below = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in below:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, key))


def replaced(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    tree = lab()
    node: Any = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return tree


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_reported_with_line_setting_reason_and_remedy(
    mistake: Mistake,
) -> None:
    assert mistake.old in FILE

    assert report(FILE.replace(mistake.old, mistake.new, 1)) == mistake.report


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_no_report_echoes_a_secret_or_speaks_pydantic(mistake: Mistake) -> None:
    said = report(FILE.replace(mistake.old, mistake.new, 1))

    assert "hunter2" not in said
    assert not re.search(
        r"Input should|valid dictionary|Field required|Traceback", said
    )


def test_the_correct_file_is_read_as_written() -> None:
    config = read(FILE)

    assert config.name == "demo"
    assert config.credentials_issued == datetime.date(2026, 11, 21)
    assert config.releases["iris"].variants["v1"].digest == DIGEST


def test_a_lab_may_have_no_releases() -> None:
    empty = FILE[: FILE.index("    releases:")]

    assert read(empty).releases == read(empty + "    releases: {}\n").releases == {}


@pytest.mark.parametrize(
    "day", ["2026-11-21", '"2026-11-21"', "2026-11-21 00:00:00 +0000 UTC"]
)
def test_a_date_is_the_same_day_quoted_unquoted_or_rewritten_by_pulumi(
    day: str,
) -> None:
    config = read(FILE.replace('"2026-11-21"', day))

    assert config.credentials_issued == datetime.date(2026, 11, 21)


def test_each_kind_of_cluster_platform_and_storage_can_be_said() -> None:
    other = (
        FILE.replace(
            "{target: embedded, name: demo}",
            "{target: existing, context: me@site, registry: registry.example.com:5000/"
            f"lab, images: {{minio: quay.io/minio/minio@{DIGEST}}}, storage_class: a}}",
        )
        .replace("{kind: own}", "{kind: shared, gateway: projectcontour/lab}")
        .replace(
            "kind: minio\n      capacity: 20Gi",
            'kind: s3\n      endpoint: "http://10.0.0.1:9000"\n      region: us-east-1',
        )
    )

    config = read(other)

    assert (config.cluster.target, config.platform.kind, config.storage.kind) == (
        "existing",
        "shared",
        "s3",
    )


def test_the_longest_names_leave_room_for_what_kubernetes_appends() -> None:
    release, variant = "r" * 24, "v" * 10
    config = read(FILE.replace("iris:", f"{release}:").replace("v1:", f"{variant}:"))

    [(found, settings_)] = config.releases.items()
    pod = f"{found}-{next(iter(settings_.variants))}-predictor-{'h' * 10}-{'x' * 5}"
    assert len(pod) <= 63
    assert "variants" in report(FILE.replace("v1:", f"{variant}v:"))


def test_settings_built_in_code_obey_the_rules_too() -> None:
    with pytest.raises(ValidationError, match="bucket that the lab does not have"):
        LabConfig.model_validate(replaced(("tracking", "bucket"), "elsewhere"))


def test_settings_cannot_be_changed_after_they_were_checked() -> None:
    config = LabConfig.model_validate(lab())

    with pytest.raises(ValidationError, match="frozen"):
        config.tracking.bucket = "elsewhere"  # type: ignore[misc]


@pytest.mark.parametrize("path", list(leaves(lab())), ids=written)
@pytest.mark.parametrize(
    "value",
    ["hunter2 Hunter2", ["hunter2 Hunter2"], {"colour_": "hunter2"}],
    ids=["text", "list", "group"],
)
def test_a_rejected_value_is_never_echoed(path: tuple[Any, ...], value: object) -> None:
    with pytest.raises(SettingsError) as error:
        load.parse(replaced(path, value), source="f", templates=TEMPLATES)

    assert "unter2" not in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kind", "target", "iris", "v1", "limits"]) | st.text(),
            below,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(path=st.sampled_from(list(leaves(lab()))), value=JSON)
def test_whatever_is_written_ends_as_settings_or_as_sentences(
    path: tuple[Any, ...], value: object
) -> None:
    try:
        load.parse(replaced(path, value), source="f", templates=TEMPLATES)
    except SettingsError as error:
        sentences = str(error).splitlines()
        assert all(line.startswith("f: ") and ";" in line for line in sentences)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text("{}[]:-#&*!|>'\"%@` \n\tab0", max_size=40))
def test_any_bytes_at_all_end_as_sentences(garbage: bytes | str) -> None:
    content = garbage if isinstance(garbage, bytes) else garbage.encode()

    with pytest.raises(SettingsError, match=r"^f[:]"):
        load.parse_file(content, source="f", templates=TEMPLATES)


def test_a_key_cannot_steer_the_terminal_of_who_reads_the_report() -> None:
    said = report(FILE.replace("owner:", '"own\\e[2J\\ner":'))

    assert "own?[2J?er: is not a setting" in said


def test_brackets_thousands_deep_are_a_sentence() -> None:
    assert "brackets hundreds deep" in report("a: " + "[" * 1500)


def test_a_reference_to_itself_is_a_sentence() -> None:
    assert "releases.a: is a list" in report(
        FILE[: FILE.index("    releases:")] + "    releases: {a: &a [*a]}\n"
    )


def test_a_file_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.demo.yaml").write_text(FILE)

    with pytest.raises(SettingsError) as error:
        load.read(tmp_path / "Pulumi.dmeo.yaml", templates=TEMPLATES)

    assert str(error.value) == (
        f"{tmp_path}/Pulumi.dmeo.yaml: does not exist (there is: Pulumi.demo.yaml); "
        "`./lab new dmeo` writes it"
    )


def test_the_example_is_valid_and_says_where_its_schema_is() -> None:
    path = load.path_of("example")

    assert load.read(path, templates=TEMPLATES).name == "example"
    assert path.read_text().startswith(editor.HEADER + "\n")


def test_the_schema_that_editors_read_is_current() -> None:
    assert editor.FILE.read_text() == editor.rendered(), (
        "run `python -m stacks.editor` to write stacks/schema.json anew"
    )


def test_every_setting_is_explained_to_the_editor() -> None:
    definitions = json.loads(editor.FILE.read_text())["$defs"]

    silent = [
        f"{section}.{name}"
        for section, schema in definitions.items()
        for name, setting in schema["properties"].items()
        if not {"description", "const", "$ref"} & setting.keys()
    ]
    assert silent == ["Secret.secure"]
    assert all("description" in schema for schema in definitions.values())


def test_the_table_for_readme_has_a_row_for_every_setting() -> None:
    definitions = json.loads(editor.FILE.read_text())["$defs"]
    names = {
        name
        for section, schema in definitions.items()
        if section != "Secret"
        for name in schema["properties"]
    }
    rows = table.render().splitlines()[2:]
    settings = [row.split("`")[1] for row in rows]

    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)
    assert {part for setting in settings for part in setting.split(".")} == {
        *names,
        *("AGREEMENT", "POLICY", "RECEIVER", "RELEASE", "VARIANT"),
    }
    assert (
        "| `storage.capacity` (minio) | a whole number above zero with Mi, Gi or Ti, "
        "such as 20Gi | required | Size of the volume. |"
    ) in rows


def test_the_table_is_written_between_its_markers_and_nowhere_else() -> None:
    readme = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"

    filled = table.filled(readme)

    assert filled == (f"before\n{table.BEGIN}\n{table.render()}{table.END}\nafter\n")
    assert table.filled(filled) == filled
    with pytest.raises(LabError, match="has no markers"):
        table.filled("no markers")


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The file of the stack that Pulumi is running, in a folder of its own."""
    monkeypatch.setattr(load, "STACKS", tmp_path)
    monkeypatch.setattr(load, "template_names", lambda: frozenset(TEMPLATES))
    monkeypatch.setattr(pulumi, "get_stack", lambda: "demo")
    yield tmp_path / "Pulumi.demo.yaml"
    pulumi.runtime.set_all_config({})


def as_pulumi_has_it(value: str) -> None:
    pulumi.runtime.set_all_config({"labfactory:lab": value})


@pytest.mark.usefixtures("stack")
def test_the_program_gets_the_settings_from_pulumi() -> None:
    as_pulumi_has_it(json.dumps(lab()))

    assert load.load() == read(FILE)


def test_the_program_names_the_line_of_a_mistake(stack: Path) -> None:
    stack.write_text(FILE.replace("20Gi", "20GB"))
    as_pulumi_has_it(json.dumps(replaced(("storage", "capacity"), "20GB")))

    with pytest.raises(pulumi.RunError, match=r"Pulumi.demo.yaml:12: storage.capacity"):
        load.load()


def test_the_program_refuses_a_seed_in_plain_text(stack: Path) -> None:
    stack.write_text(FILE.replace("\n    secure: v1:abc", " hunter2"))
    as_pulumi_has_it(json.dumps(lab()))

    with pytest.raises(pulumi.RunError, match="seed: is in plain text") as error:
        load.load()

    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("", "labfactory:lab: is missing"),
        ("hunter2", "labfactory:lab: is a text and not a group of settings"),
        ("[1]", "labfactory:lab: is a list and not a group of settings"),
    ],
)
@pytest.mark.usefixtures("stack")
def test_the_program_says_when_there_are_no_settings(value: str, sentence: str) -> None:
    as_pulumi_has_it(value)

    with pytest.raises(pulumi.RunError, match=sentence) as error:
        load.load()

    assert "hunter2" not in str(error.value)
