from __future__ import annotations

from typing import Any

from components.labels import labelled, of_lab

LABELS = of_lab("demo", "vision")
SERVICE = "kubernetes:core/v1:Service"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"


def test_a_resource_keeps_its_own_labels_and_gains_ours() -> None:
    found = labelled(
        SERVICE, {"metadata": {"name": "x", "labels": {"app": "x"}}}, LABELS
    )

    assert found["metadata"]["name"] == "x"
    assert found["metadata"]["labels"] == {**LABELS, "app": "x"}


def test_what_others_say_about_the_owner_does_not_count() -> None:
    theirs = {"app.kubernetes.io/managed-by": "somebody-else"}

    found = labelled(SERVICE, {"metadata": {"labels": theirs}}, LABELS)

    assert found["metadata"]["labels"] == LABELS


def test_pods_are_labelled_and_selectors_left_alone() -> None:
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": []}}
    spec = {"selector": {"matchLabels": {"app": "x"}}, "template": template}

    found = labelled(DEPLOYMENT, {"metadata": {}, "spec": spec}, LABELS)

    assert found["spec"]["selector"] == {"matchLabels": {"app": "x"}}
    assert found["spec"]["template"]["metadata"]["labels"] == {**LABELS, "app": "x"}
    assert found["spec"]["template"]["spec"] == {"containers": []}


def test_pods_of_a_cron_job_get_the_labels_too() -> None:
    jobs: dict[str, Any] = {"spec": {"template": {"metadata": {}, "spec": {}}}}

    found = labelled(
        "kubernetes:batch/v1:CronJob", {"spec": {"jobTemplate": jobs}}, LABELS
    )

    made = found["spec"]["jobTemplate"]
    assert made["metadata"]["labels"] == LABELS
    assert made["spec"]["template"]["metadata"]["labels"] == LABELS
    assert jobs == {"spec": {"template": {"metadata": {}, "spec": {}}}}


def test_what_is_given_is_not_changed() -> None:
    props = {"metadata": {"labels": {}}, "spec": {"template": {"metadata": {}}}}

    labelled(DEPLOYMENT, props, LABELS)

    assert props == {"metadata": {"labels": {}}, "spec": {"template": {"metadata": {}}}}


def test_what_is_not_kubernetes_passes_unchanged() -> None:
    assert labelled("aws:s3/bucket:Bucket", {"tags": {}}, LABELS) == {"tags": {}}
