"""What the settings may say about monitoring and the guard."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from model_templates import routes
from stacks import load
from stacks.load import SettingsError
from stacks.schema import LabConfig

FILE = """\
config:
  labfactory:alerts-chat:
    secure: v1:abc
  labfactory:lab:
    name: demo
    owner: vision
    credentials_issued: "2026-11-21"
    cluster: {target: embedded, name: demo}
    platform: {kind: own}
    storage: {kind: minio, capacity: 20Gi, buckets: [mlflow, predictions]}
    tracking: {capacity: 5Gi, bucket: mlflow}
    predictions: {bucket: predictions}
    monitoring:
      receivers:
        oncall: {kind: webhook, url: "https://alerts.example.com/lab"}
        chat: {kind: slack, channel: "#lab"}
        mail: {kind: email, to: a@b.example, sender: c@d.org, server: "b.example:25"}
    guard: {actions_per_hour: 3}
    releases:
      iris:
        template: mlflow
        guard:
          steps: [10, 25, 50]
          errors: {at_most: 0.02}
          quality: {at_least: 0.9}
          agreement: {at_least: 0.95}
        retrain: {arguments: ["--name", iris]}
        variants:
          v1: {version: 1, PIN, role: stable, traffic: 100}
""".replace("PIN", f'artifact: "s3://mlflow/m", digest: "sha256:{"0a" * 32}"')
RULES = "releases.iris.guard"


class Mistake(NamedTuple):
    """A change that makes the file wrong, and what the report has to say."""

    name: str
    old: str
    new: str
    says: str


MISTAKES = [
    Mistake(
        "a guard without measurements",
        FILE[FILE.index("    monitoring:") : FILE.index("    guard: {actions")],
        "",
        "guard: reads measurements, and the lab has none; add `monitoring: {}`",
    ),
    Mistake(
        "rules without a guard",
        "    guard: {actions_per_hour: 3}\n",
        "",
        f"{RULES}: is for the guard, and the lab has none; add `guard: {{}}` and",
    ),
    Mistake(
        "steps that shrink",
        "[10, 25, 50]",
        "[25, 10]",
        f"{RULES}.steps: do not grow from each to the next; write them in order",
    ),
    Mistake(
        "a step twice",
        "[10, 25, 50]",
        "[10, 10]",
        f"{RULES}.steps: do not grow from each to the next",
    ),
    Mistake(
        "labels without predictions",
        "    predictions: {bucket: predictions}\n",
        "",
        f"{RULES}.quality: needs the predictions that quality is measured on",
    ),
    Mistake(
        "a retraining that nothing starts",
        "          quality: {at_least: 0.9}\n",
        "",
        "releases.iris.retrain: starts when quality or inputs decay, and nothing",
    ),
    Mistake(
        "rules that need the lab's own server",
        "template: mlflow",
        "template: sklearn",
        f"{RULES}.quality: is measured by the lab's model server, and sklearn is one",
    ),
    Mistake(
        "a receiver without its secret",
        "  labfactory:alerts-chat:\n    secure: v1:abc\n",
        "",
        "monitoring.receivers.chat: names a secret that the stack does not have; set "
        "it with `pulumi config set --secret labfactory:alerts-chat`",
    ),
    Mistake(
        "a webhook with neither address nor secret",
        'webhook, url: "https://alerts.example.com/lab"',
        "webhook",
        "monitoring.receivers.oncall: names a secret that the stack does not have",
    ),
    Mistake(
        "an account without its password",
        "kind: email,",
        "kind: email, username: lab,",
        "monitoring.receivers.mail: names a secret that the stack does not have",
    ),
    Mistake(
        "a secret in an address",
        "https://alerts.example.com/lab",
        "https://lab:hunter2@alerts.example.com/lab",
        "set it with `pulumi config set --secret labfactory:alerts-NAME` and leave",
    ),
    Mistake(
        "a secret of no receiver's name",
        "labfactory:alerts-chat:",
        "labfactory:alerts-Chat:",
        "is not the secret of a receiver of alerts; write labfactory:alerts-NAME",
    ),
    Mistake(
        "a mail server without a port",
        "b.example:25",
        "b.example",
        "is not a server; write HOST:PORT, such as smtp.example.com:587",
    ),
    Mistake(
        "a limit above all",
        "at_most: 0.02",
        "at_most: 2.0",
        f"{RULES}.errors.at_most:",
    ),
]


def read(content: str) -> LabConfig:
    templates = ("mlflow", "sklearn")
    return load.parse_file(content.encode(), source="f", templates=templates)


def test_the_file_that_the_mistakes_are_made_in_is_right() -> None:
    lab = read(FILE)

    assert lab.takes_feedback
    assert lab.releases["iris"].guard.errors.at_most == 0.02


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_reported_with_its_remedy(mistake: Mistake) -> None:
    assert mistake.old in FILE

    with pytest.raises(SettingsError) as error:
        read(FILE.replace(mistake.old, mistake.new, 1))

    assert mistake.says in str(error.value)
    assert "hunter2" not in str(error.value)


def test_without_rules_every_release_is_watched_by_good_ones() -> None:
    rules = read(FILE.partition("        guard:\n")[0] + _variants()).releases["iris"]

    assert rules.guard.mode == "act"
    assert rules.guard.errors.above_stable
    assert rules.guard.steps == ()


def test_a_route_says_the_settings_that_it_was_made_from() -> None:
    release = read(FILE).releases["iris"]

    route = routes.http_route("iris", release, lab="demo", gateway="a/b")

    assert routes.settings_of(route) == release.model_copy(update={"replicas": 1})
    assert routes.settings_of({"metadata": {}}) is None


def test_what_labels_are_joined_with_is_logged() -> None:
    release = read(FILE).releases["iris"]

    [*_, last] = routes.rules("iris", release)

    assert last["filters"][0]["requestHeaderModifier"] == {
        "set": [{"name": routes.LOG, "value": "1"}]
    }


def _variants() -> str:
    return FILE[FILE.index("        variants:") :]
