"""Rules of combinations of versions and settings that are known to go wrong.

`lab plan` knows more of them, with the upstream issue of each (releases/traps.yaml).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .lab import Lab
from .rule import Complaint, Rule
from .workloads import Container, all_containers, tree

FIXED = "RELEASE.2025-10-15T17-29-55Z"
"""The release of MinIO that mends CVE-2025-62506; upstream published no image of it."""
AUTOSCALER = "serving.kserve.io/autoscalerClass"
PARTS = ("predictor", "transformer", "explainer")
UNKNOWN = ("canaryTrafficPercent", "containerConcurrency", "scaleMetric")
"""Fields that only Knative knows."""


def kserve_traps(lab: Lab) -> Iterator[Complaint]:
    """No InferenceService has a field that does nothing, or harm, here."""
    for found in lab.all("InferenceService"):
        if "canary" in found.spec:
            yield Complaint(found.name, "spec.canary sends requests to unready pods")
        for part in PARTS:
            for field in UNKNOWN:
                if field in tree(found.spec.get(part)):
                    text = f"spec.{part}.{field} does nothing without Knative"
                    yield Complaint(found.name, text)


def fixed_size(lab: Lab) -> Iterator[Complaint]:
    """No autoscaler is made that cannot change anything."""
    for found in lab.all("InferenceService"):
        predictor = tree(found.spec.get("predictor"))
        chosen = tree(found.metadata.get("annotations")).get(AUTOSCALER)
        least, most = predictor.get("minReplicas"), predictor.get("maxReplicas")
        if least is not None and least == most and chosen != "none":
            text = f"an autoscaler owns its pods, and may only say {least}"
            yield Complaint(found.name, text)


def image_traps(lab: Lab) -> Iterator[Complaint]:
    """No container runs what is known to be broken."""
    for container in all_containers(lab):
        if why := _trap(container):
            yield Complaint(container.pods.owner.name, f"{container.named} {why}")


def _trap(container: Container) -> str | None:
    name = str(container.fields.get("image") or "").partition("@")[0]
    folder, _, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    if last == "minio" and folder.endswith("minio") and tag < FIXED:
        return "runs a MinIO whose accounts escape their policies (CVE-2025-62506)"
    words = [*_words(container.fields, "command"), *_words(container.fields, "args")]
    if "mlflow server" in " ".join(words) and not _jobs_off(container.fields):
        return "lets whoever reaches it run code (CVE-2026-0545)"
    return None


def _words(fields: Mapping[str, Any], key: str) -> list[str]:
    return [str(each) for each in fields.get(key) or []]


def _jobs_off(fields: Mapping[str, Any]) -> bool:
    variables = {
        each.get("name"): each.get("value") for each in fields.get("env") or []
    }
    return variables.get("MLFLOW_SERVER_ENABLE_JOB_EXECUTION") == "false"


RULES: tuple[Rule, ...] = (
    Rule(
        "kserve-traps",
        "mandatory",
        "No InferenceService uses what only Knative understands.",
        "It is taken without a word, and the opposite of what it says happens.",
        "take it out, and use the release's `replicas` and its variants' `traffic`",
        kserve_traps,
    ),
    Rule(
        "autoscaler-of-fixed-size",
        "mandatory",
        "An InferenceService of a fixed size has no autoscaler.",
        "KServe makes one unless told not to, and it owns the number of pods.",
        f"annotate it with {AUTOSCALER}: none",
        fixed_size,
    ),
    Rule(
        "image-traps",
        "mandatory",
        "No container runs a version that is known to be broken.",
        "Somebody else has already found out what happens.",
        "use the lab's own image, and set MLFLOW_SERVER_ENABLE_JOB_EXECUTION to false",
        image_traps,
    ),
)
