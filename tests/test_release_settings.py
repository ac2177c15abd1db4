"""What a release may say about its variants, and what a person reads otherwise."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from labfactory.settings import table
from model_templates import routes
from stacks import editor, load, text, values
from stacks.load import SettingsError
from stacks.route_rules import MOST_RULES, rules_needed
from stacks.schema import LabConfig, ReleaseConfig

TEMPLATES = ("mlflow", "sklearn")
FILE = """\
config:
  labfactory:external-acme:
    secure: v1:abc
  labfactory:lab:
    name: demo
    owner: vision
    credentials_issued: "2026-11-21"
    cluster: {target: embedded, name: demo}
    platform: {kind: own}
    storage: {kind: minio, capacity: 20Gi, buckets: [mlflow, data, predictions]}
    tracking: {capacity: 5Gi, bucket: mlflow}
    predictions: {bucket: predictions}
    releases:
      iris:
        template: mlflow
        serve: [api, batch]
        sticky: x-lab-bucket
        batch:
          schedule: "0 3 * * *"
          input: "s3://data/iris"
          output: "s3://predictions/iris"
        variants:
          v1: {version: 1, PIN, role: stable, traffic: 90}
          v2: {version: 2, PIN, role: candidate, traffic: 10}
          v3: {version: 3, PIN, role: candidate, match: {cookie: group, value: b}}
          v4: {version: 4, PIN, role: shadow, mirror: 100}
          v5: {version: 5, PIN, role: rejected, because: "slower"}
          acme:
            role: candidate
            external:
              url: "https://api.example.com/predict?version=2"
              key: acme
              cost_per_call: 0.002
""".replace("PIN", f'artifact: "s3://mlflow/m", digest: "sha256:{"0a" * 32}"')
PIN = f', artifact: "s3://mlflow/m", digest: "sha256:{"0a" * 32}"'
IN = "releases.iris.variants"


class Mistake(NamedTuple):
    """Replace `old` in FILE by `new`, and read `report`."""

    name: str
    old: str
    new: str
    report: str


MISTAKES = [
    Mistake(
        "a variant without a digest",
        f"{PIN}, role: stable",
        ', artifact: "s3://mlflow/m", role: stable',
        f"f:23: {IN}.v1: is not pinned (it has no digest); "
        "`lab release NAME VERSION` writes what is missing",
    ),
    Mistake(
        "an endpoint with a version",
        "            role: candidate\n",
        "            role: candidate\n            version: 9\n",
        f"f:28: {IN}.acme: is an external endpoint and has version too; keep one of "
        "the two",
    ),
    Mistake(
        "traffic without a stable variant",
        "role: stable",
        "role: previous",
        f"f:22: {IN}: has 0 variants with the role stable; give it to exactly one\n"
        f"f:23: {IN}.v1.traffic: is for the stable variant and candidates, and not for "
        "one that is previous; remove it or change the role",
    ),
    Mistake(
        "a shadow without a mirror",
        ", mirror: 100",
        "",
        f"f:26: {IN}.v4.mirror: is missing; add the per cent of the requests that the "
        "shadow gets copies of, such as 100",
    ),
    Mistake(
        "a mirror of a candidate",
        "role: candidate, traffic: 10",
        "role: candidate, traffic: 10, mirror: 100",
        f"f:24: {IN}.v2.mirror: is for shadows, and this variant is candidate; remove "
        "it or change the role",
    ),
    Mistake(
        "a mirror of nothing",
        "mirror: 100",
        "mirror: 0",
        f"f:26: {IN}.v4.mirror: is too small; write at least 1",
    ),
    Mistake(
        "a match of the stable variant",
        "role: stable",
        "role: stable, match: {header: x-group, value: b}",
        f"f:23: {IN}.v1.match: is for candidates, and this variant is stable; remove it"
        " or change the role",
    ),
    Mistake(
        "a match by nothing",
        "match: {cookie: group, value: b}",
        "match: {value: b}",
        f"f:25: {IN}.v3.match: has neither header nor cookie; write exactly one of the "
        "two",
    ),
    Mistake(
        "a match by two things",
        "match: {cookie: group, value: b}",
        "match: {cookie: group, header: x-group, value: b}",
        f"f:25: {IN}.v3.match: has both header and cookie; write exactly one of the "
        "two",
    ),
    Mistake(
        "a match without a value",
        "match: {cookie: group, value: b}",
        "match: {cookie: group}",
        f"f:25: {IN}.v3.match.value: is missing; add it: value of the header or the "
        "cookie",
    ),
    Mistake(
        "a match with a typo",
        "match: {cookie: group, value: b}",
        "match: {cookei: group, cookie: group, value: b}",
        f"f:25: {IN}.v3.match.cookei: is not a setting (there is: header, cookie, "
        'value); did you mean "cookie"?',
    ),
    Mistake(
        "a match that is a text",
        "match: {cookie: group, value: b}",
        "match: b",
        f"f:25: {IN}.v3.match: is a text and not a group of settings; write its "
        "settings below it, as KEY: VALUE",
    ),
    Mistake(
        "a match that two variants have",
        "role: candidate, traffic: 10",
        "role: candidate, traffic: 10, match: {cookie: group, value: b}",
        f"f:25: {IN}.v3.match: is the match of v2 too; let the two differ in their "
        "value",
    ),
    Mistake(
        "a match of the header with the bucket",
        "match: {cookie: group, value: b}",
        'match: {header: x-lab-bucket, value: "07"}',
        f"f:25: {IN}.v3.match.header: is the header of `sticky`, which has a bucket in "
        "it; match another one",
    ),
    Mistake(
        "a match of what the route itself writes",
        "match: {cookie: group, value: b}",
        "match: {header: x-request-id, value: b}",
        f"f:25: {IN}.v3.match.header: is taken by the lab or its cluster (cookie, host,"
        " x-lab-log, x-request-id are); choose another name",
    ),
    Mistake(
        "a rejected variant without a reason",
        ', because: "slower"',
        "",
        f"f:27: {IN}.v5.because: is missing; add why the variant was rejected, as one "
        "line in quotes",
    ),
    Mistake(
        "a reason for nothing",
        "mirror: 100",
        'mirror: 100, because: "slower"',
        f"f:26: {IN}.v4.because: is for rejected variants, and this one is shadow; "
        "remove it or change the role",
    ),
    Mistake(
        "two previous variants",
        'role: shadow, mirror: 100}\n          v5: {version: 5, artifact: "s3://mlflow/'
        f'm", digest: "sha256:{"0a" * 32}", role: rejected, because: "slower"',
        'role: previous}\n          v5: {version: 5, artifact: "s3://mlflow/'
        f'm", digest: "sha256:{"0a" * 32}", role: previous',
        f"f:22: {IN}: has 2 variants with the role previous; keep at most one, and take"
        " the others out",
    ),
    Mistake(
        "seven variants",
        "          acme:\n",
        f"          v6: {{version: 6{PIN}, role: previous}}\n          acme:\n",
        f"f:22: {IN}: has 7 variants, and 6 is the most; take some out (`lab retire "
        "RELEASE VARIANT`)",
    ),
    Mistake(
        "the same version twice",
        "v2: {version: 2,",
        "other: {version: 1,",
        f"f:24: {IN}.other.version: is the version of v1 too; keep one of the two "
        "variants",
    ),
    Mistake(
        "a name with another version",
        "v2: {version: 2,",
        "v2: {version: 7,",
        f"f:24: {IN}.v2.version: is 7, and the variant is named v2; name the variant v7"
        " or correct the version",
    ),
    Mistake(
        "a third candidate with traffic on sticky buckets",
        "traffic: 90}",
        "traffic: 88}",
        f"f:22: {IN}: get 98 per cent of the requests together; let their `traffic` "
        "sum to 100",
    ),
    Mistake(
        "three candidates that grow on sticky buckets",
        "role: candidate, traffic: 10}\n"
        f"          v3: {{version: 3{PIN}, role: candidate, match: {{cookie: group, "
        "value: b}",
        f"role: candidate, traffic: 5}}\n          v3: {{version: 3{PIN}, "
        "role: candidate, traffic: 4}\n"
        f"          v6: {{version: 6{PIN}, role: candidate, traffic: 1",
        "f:17: releases.iris.sticky: allows two candidates with traffic, and there are "
        "3; set the `traffic` of the others to 0, or remove `sticky`\n"
        f"f:22: {IN}: has 7 variants, and 6 is the most; take some out (`lab retire "
        "RELEASE VARIANT`)",
    ),
    Mistake(
        "two shadows that get a part",
        'mirror: 100}\n          v5: {version: 5, artifact: "s3://mlflow/m", digest: '
        f'"sha256:{"0a" * 32}", role: rejected, because: "slower"}}\n'
        "          acme:\n            role: candidate",
        "mirror: 50}\n"
        "          acme:\n            role: shadow\n            mirror: 20",
        f"f:22: {IN}: has 2 shadows that get a part of the requests, and one is the "
        "most; let the others `mirror: 100`, or take them out\n"
        f"f:22: {IN}: need 20 rules in the release's route, and 16 is the most; take a "
        "variant out, let fewer have a `match`, or let the shadow `mirror: 100`",
    ),
    Mistake(
        "more rules than a route may have",
        "mirror: 100",
        "mirror: 50",
        f"f:22: {IN}: need 18 rules in the release's route, and 16 is the most; take a "
        "variant out, let fewer have a `match`, or let the shadow `mirror: 100`",
    ),
    Mistake(
        "a shadow and a batch without a place for predictions",
        "    predictions: {bucket: predictions}\n",
        "",
        "f:15: releases.iris.serve: says batch, and the lab keeps no predictions; add "
        "`predictions: {bucket: BUCKET}` to the lab\n"
        f"f:25: {IN}.v4.role: is shadow, and the lab keeps no predictions; add "
        "`predictions: {bucket: BUCKET}` to the lab",
    ),
    Mistake(
        "predictions in a bucket that does not exist",
        "    predictions: {bucket: predictions}",
        "    predictions: {bucket: prediction}",
        "f:12: predictions.bucket: is a bucket that the lab does not have (it has: "
        "mlflow, data, predictions); add the bucket to `storage.buckets` or choose one "
        'of these; did you mean "predictions"?\n'
        "f:21: releases.iris.batch.output: is not in the bucket `predictions.bucket`, "
        "the only one that batches may write to; choose a folder in it",
    ),
    Mistake(
        "predictions among the models",
        "    predictions: {bucket: predictions}",
        "    predictions: {bucket: mlflow}",
        "f:12: predictions.bucket: is the tracking server's bucket, where the models "
        "lie; choose another one\n"
        "f:21: releases.iris.batch.output: is not in the bucket `predictions.bucket`, "
        "the only one that batches may write to; choose a folder in it",
    ),
    Mistake(
        "predictions without a bucket",
        "    predictions: {bucket: predictions}",
        "    predictions: {}",
        "f:12: predictions.bucket: is missing; add it: one of `storage.buckets`, not "
        "the tracking server's",
    ),
    Mistake(
        "a way to serve that does not exist",
        "[api, batch]",
        "[api, batch, grpc]",
        "f:16: releases.iris.serve[2]: is not a known value; write api or batch",
    ),
    Mistake(
        "a way to serve twice",
        "[api, batch]",
        "[batch, batch]",
        "f:16: releases.iris.serve: says the same twice; keep one of the two",
    ),
    Mistake(
        "a way to serve that is no list",
        "[api, batch]\n",
        "api\n",
        "f:16: releases.iris.serve: is a text and not a list; write [ONE, TWO]\n"
        "f:18: releases.iris.batch: is for releases that serve batches; add "
        "`serve: [api, batch]` or remove it",
    ),
    Mistake(
        "a batch of a release that serves none",
        "[api, batch]",
        "[api]",
        "f:18: releases.iris.batch: is for releases that serve batches; add "
        "`serve: [api, batch]` or remove it",
    ),
    Mistake(
        "a batch of KServe's own server",
        "template: mlflow",
        "template: sklearn",
        "f:16: releases.iris.serve: says batch, which the template sklearn cannot do "
        "(its server is KServe's own); remove batch or choose another template, such "
        "as mlflow",
    ),
    Mistake(
        "a batch of somebody else's endpoint",
        "role: stable, traffic: 90}",
        "role: previous}\n          own: {role: stable, traffic: 90, external: "
        '{url: "https://api.example.com", cost_per_call: 0}}',
        "f:16: releases.iris.serve: says batch, and the stable variant own is an "
        "external endpoint; remove batch, or let a model be stable\n"
        f"f:22: {IN}: has 7 variants, and 6 is the most; take some out (`lab retire "
        "RELEASE VARIANT`)",
    ),
    Mistake(
        "a batch over the models",
        "s3://data/iris",
        "s3://mlflow/iris",
        "f:20: releases.iris.batch.input: is in the tracking server's bucket, which "
        "batches may not read; put the rows into another one",
    ),
    Mistake(
        "a batch over a bucket that does not exist",
        "s3://data/iris",
        "s3://elsewhere/iris",
        "f:20: releases.iris.batch.input: is in a bucket that the lab does not have "
        "(it has: mlflow, data, predictions); add the bucket to `storage.buckets` or "
        "choose one of these",
    ),
    Mistake(
        "a batch that writes among the logs",
        "s3://predictions/iris",
        "s3://predictions/logs/iris",
        "f:21: releases.iris.batch.output: is where the lab keeps prediction logs and "
        "labels; choose a folder outside logs/ and labels/",
    ),
    Mistake(
        "a batch that reads what it writes",
        "s3://data/iris",
        "s3://predictions/iris/today",
        "f:21: releases.iris.batch.output: overlaps with `input`, so that a batch would"
        " read what it wrote; choose two folders apart",
    ),
    Mistake(
        "two batches in one folder",
        "      iris:\n",
        "      wine:\n        template: mlflow\n        serve: [batch]\n"
        '        batch: {schedule: "0 4 * * *", input: "s3://data/wine", '
        'output: "s3://predictions"}\n        variants: {v1: {version: 1'
        f"{PIN}, role: stable, traffic: 100}}}}\n      iris:\n",
        "f:17: releases.wine.batch.output: is not an address in the object store; write"
        " s3://BUCKET/PATH, without a slash at the end\n"
        "f:26: releases.iris.batch.output: is where release wine writes too; choose a "
        "folder for each",
    ),
    Mistake(
        "a schedule with four fields",
        "0 3 * * *",
        "0 3 * *",
        "f:19: releases.iris.batch.schedule: is not a schedule; write five fields of "
        'cron, such as "0 3 * * *" for three at night',
    ),
    Mistake(
        "a schedule at an hour that does not exist",
        "0 3 * * *",
        "0 24 * * *",
        "f:19: releases.iris.batch.schedule: has an hour that does not exist; write 0 "
        "to 23 there, and ranges from the smaller to the larger",
    ),
    Mistake(
        "a batch by nobody",
        'output: "s3://predictions/iris"',
        'output: "s3://predictions/iris"\n          parallelism: 0',
        "f:22: releases.iris.batch.parallelism: is too small; write at least 1",
    ),
    Mistake(
        "an endpoint in plain text on the internet",
        "https://api.example.com",
        "http://api.example.com",
        f"f:31: {IN}.acme.external.url: is not an endpoint's address; write "
        "https://HOST/PATH, or http://SERVICE.NAMESPACE.svc/PATH inside the cluster",
    ),
    Mistake(
        "a key in the endpoint's address",
        "?version=2",
        "?api_key=hunter2",
        f"f:31: {IN}.acme.external.url: carries a key; write it without, replace the "
        "key where it is in use, and set the key with `pulumi config set --secret "
        "labfactory:external-NAME`",
    ),
    Mistake(
        "a password in the endpoint's address",
        "https://api",
        "https://me:hunter2@api",
        f"f:31: {IN}.acme.external.url: carries a user name or a password; write only "
        "https://HOST, replace the password where it is in use, and set the key with "
        "`pulumi config set --secret labfactory:external-NAME`",
    ),
    Mistake(
        "a cost in quotes",
        "cost_per_call: 0.002",
        'cost_per_call: "0.002"',
        f"f:33: {IN}.acme.external.cost_per_call: is not a number; write it without "
        "quotes or unit, such as 0.002",
    ),
    Mistake(
        "a cost that never ends",
        "cost_per_call: 0.002",
        "cost_per_call: .nan",
        f"f:33: {IN}.acme.external.cost_per_call: is not a number that ends; write one "
        "such as 0.002",
    ),
    Mistake(
        "a cost below nothing",
        "cost_per_call: 0.002",
        "cost_per_call: -1",
        f"f:33: {IN}.acme.external.cost_per_call: is too small; write at least 0",
    ),
    Mistake(
        "no cost",
        "              cost_per_call: 0.002\n",
        "",
        f"f:30: {IN}.acme.external.cost_per_call: is missing; add it: price of one "
        "call, in the lab's currency",
    ),
    Mistake(
        "a request that is no expression",
        "              key: acme\n",
        '              key: acme\n              request: "{hunter2: "\n',
        f"f:33: {IN}.acme.external.request: is not a JMESPath expression (it cannot be "
        "read from character 11 on); correct it there, or before",
    ),
    Mistake(
        "a function that does not exist",
        "              key: acme\n",
        '              key: acme\n              response: "hunter2(outputs)"\n',
        f"f:33: {IN}.acme.external.response: calls a function that JMESPath does not "
        "have; jmespath.org lists them",
    ),
    Mistake(
        "a request of rows where there is one",
        "              key: acme\n",
        "              key: acme\n              call_per: row\n",
        f"f:30: {IN}.acme.external.request: is made from `rows`, and with "
        "`call_per: row` there is only `row`; write an expression of `row`, or change "
        "`call_per`",
    ),
    Mistake(
        "a header without a key",
        "              key: acme\n",
        '              header: "X-Key: {key}"\n',
        f"f:32: {IN}.acme.external.header: carries a key, and there is none; add "
        "`key: NAME`, or remove it",
    ),
    Mistake(
        "a key instead of its name",
        "              key: acme\n",
        '              key: acme\n              header: "X-Key: hunter2"\n',
        f"f:33: {IN}.acme.external.header: is not a header with a key; write NAME: "
        'TEXT with {key} in it, such as "Authorization: Bearer {key}"',
    ),
    Mistake(
        "an endpoint's key in plain text",
        "\n    secure: v1:abc",
        " hunter2",
        "f:2: config.labfactory:external-acme: is in plain text; replace the secret, "
        "which others may have read, by `pulumi config set --secret "
        "labfactory:external-acme`",
    ),
    Mistake(
        "an endpoint's key that is not there",
        "  labfactory:external-acme:\n    secure: v1:abc\n",
        "",
        f"f:30: {IN}.acme.external.key: names a secret that the stack does not have; "
        "set it with `pulumi config set --secret labfactory:external-acme`",
    ),
    Mistake(
        "an endpoint's key with a typo",
        "external-acme:",
        "extrenal-acme:",
        "f:2: config.labfactory:extrenal-acme: is not a setting of labfactory; did you "
        'mean "labfactory:external-acme"?\n'
        f"f:32: {IN}.acme.external.key: names a secret that the stack does not have; "
        "set it with `pulumi config set --secret labfactory:external-acme`",
    ),
    Mistake(
        "an endpoint's key with a name that is none",
        "  labfactory:external-acme:\n",
        "  labfactory:external-Acme:\n    secure: v1:abc\n"
        "  labfactory:external-acme:\n",
        "f:2: config.labfactory:external-Acme: is not the key of an external endpoint; "
        "write labfactory:external-NAME with a name of lower-case letters, digits and "
        "hyphens",
    ),
]


def read(content: str) -> LabConfig:
    return load.parse_file(content.encode(), source="f", templates=TEMPLATES)


def report(content: str) -> str:
    with pytest.raises(SettingsError) as error:
        read(content)
    return str(error.value)


def test_the_file_that_the_mistakes_are_made_in_is_right() -> None:
    release = read(FILE).releases["iris"]

    assert release.stable() == "v1"
    assert release.variants["v2"].pinned.version == 2
    assert release.variants["acme"].traffic == 0


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
    assert not re.search(r"Input should|Field required|Traceback", said)


def lab() -> dict[str, Any]:
    found: dict[str, Any] = text.parse(FILE.encode()).data["config"]["labfactory:lab"]
    return found


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = node.items() if isinstance(node, dict) else enumerate(node)
    found = []
    for key, value in below:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(["external", "match", "role", "v1", "key"]) | st.text(),
            below,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(path=st.sampled_from(places(lab()["releases"], ("releases",))), value=JSON)
def test_whatever_is_written_ends_as_settings_or_as_sentences(
    path: tuple[Any, ...], value: object
) -> None:
    tree = lab()
    node: Any = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    try:
        load.parse(tree, source="f", templates=TEMPLATES)
    except SettingsError as error:
        sentences = str(error).splitlines()
        assert all(line.startswith("f: ") and ";" in line for line in sentences)


@pytest.mark.parametrize(
    "schedule", ["* * * * *", "*/5 0-6 1,15 1-12/3 0,6", "59 23 31 12 6"]
)
def test_a_schedule_that_kubernetes_knows_is_accepted(schedule: str) -> None:
    assert read(FILE.replace("0 3 * * *", schedule)).releases["iris"].batch


@pytest.mark.parametrize(
    "schedule",
    [
        "60 * * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 7",
        "5-1 * * * *",
        "*/0 * * * *",
    ],
)
def test_a_schedule_that_never_comes_is_refused(schedule: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(values.Schedule).validate_python(schedule)


def test_an_endpoint_inside_the_cluster_may_be_plain_http() -> None:
    near = FILE.replace("https://api.example.com", "http://model.team-a.svc:8080")

    assert read(near)


@pytest.mark.parametrize(
    "expression", ["(" * 5000, "[" * 5000, "a ^ b", "@.a[", "length("]
)
def test_an_expression_that_cannot_be_read_is_a_sentence(expression: str) -> None:
    with pytest.raises(ValidationError, match=r"is not a JMESPath|is too long"):
        TypeAdapter(values.Expression).validate_python(expression)


def test_an_expression_of_slices_and_functions_is_accepted() -> None:
    wanted = (
        "{inputs: rows[0:2].values(@), n: length(rows), k: `1`, l: rows[*].a | [0]}"
    )

    assert TypeAdapter(values.Expression).validate_python(wanted) == wanted


def test_what_holds_for_the_file_holds_for_settings_built_in_code() -> None:
    tree = lab()
    tree["releases"]["iris"]["variants"]["v4"]["mirror"] = None

    assert LabConfig.model_validate(lab()).releases["iris"].sticky == "x-lab-bucket"
    with pytest.raises(ValidationError, match=r"is missing; add the per cent"):
        LabConfig.model_validate(tree)


@st.composite
def releases(draw: st.DrawFn) -> dict[str, Any]:
    """A release that keeps all rules but the size of its route."""
    release: dict[str, Any] = {"template": "mlflow", "variants": {}}
    if draw(st.booleans()):
        release["sticky"] = "x-lab-bucket"
    traffic = draw(st.lists(st.integers(0, 50), max_size=2))
    candidates = [*traffic, *draw(st.lists(st.just(0), max_size=2))]
    numbers = itertools.count(1)

    def add(role: str, **said: Any) -> None:
        number = next(numbers)
        pin = {"artifact": "s3://mlflow/m", "digest": f"sha256:{'0a' * 32}"}
        release["variants"][f"v{number}"] = {
            "version": number,
            **pin,
            "role": role,
            **said,
        }

    add("stable", traffic=100 - sum(traffic))
    for weight in candidates:
        value = f"g{len(release['variants'])}"
        match = {"match": {"header": "x-group", "value": value}}
        add("candidate", traffic=weight, **(match if draw(st.booleans()) else {}))
    if len(release["variants"]) < 6 and draw(st.booleans()):
        add("shadow", mirror=draw(st.sampled_from([1, 50, 100])))
    return release


@settings(max_examples=150, deadline=None)
@given(releases())
def test_a_release_is_refused_when_its_route_would_have_too_many_rules(
    release: dict[str, Any],
) -> None:
    route = routes.rules("iris", ReleaseConfig.model_validate(release))
    tree = lab() | {"releases": {"iris": release}}

    try:
        load.parse(tree, source="f", templates=TEMPLATES)
        refused = ""
    except SettingsError as error:
        refused = str(error)

    assert rules_needed(release, 2) == len(route)
    assert bool(refused) == (len(route) > MOST_RULES)
    assert not refused or f"need {len(route)} rules" in refused


def test_editors_know_the_secrets_of_endpoints() -> None:
    schema = json.loads(editor.FILE.read_text())["properties"]["config"]
    [external] = [
        key
        for key in schema["patternProperties"]
        if re.match(key, "labfactory:external-a")
    ]

    assert schema["patternProperties"][external] == {"$ref": "#/$defs/Secret"}
    assert not re.match(external, "labfactory:external-A")


def test_the_table_shows_settings_of_sections_that_may_be_left_out() -> None:
    rows = table.render().splitlines()

    assert "| `predictions` | the settings below | nothing |" in "\n".join(rows)
    [cost] = [row for row in rows if "external.cost_per_call`" in row]
    assert "| number from 0 to 1000 | required |" in cost
    [version] = [row for row in rows if "VARIANT.version`" in row]
    assert "| whole number from 1 | nothing |" in version
