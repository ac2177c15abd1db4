"""Rules of monitoring and of the guard."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from stacks.raw import (
    Path,
    Problem,
    Rule,
    TemplateFacts,
    Tree,
    mapping,
    releases,
)

_FOR_OWN_SERVER = ("quality", "drift", "agreement")
_FROM_LOGS = ("quality", "agreement")


def the_guard_reads_measurements(lab: Tree) -> Iterator[Problem]:
    """There is no guard without Prometheus."""
    if lab.get("guard") is not None and lab.get("monitoring") is None:
        yield (
            ("guard",),
            "reads measurements, and the lab has none; add `monitoring: {}` to the lab",
        )


def rules_have_a_guard(lab: Tree) -> Iterator[Problem]:
    """Nobody believes to be watched who is not."""
    if lab.get("guard") is not None:
        return
    for path, release in releases(lab):
        for setting in ("guard", "retrain"):
            if release.get(setting) is not None:
                yield (
                    (*path, setting),
                    "is for the guard, and the lab has none; add `guard: {}` and "
                    "`monitoring: {}` to the lab",
                )


def steps_grow(lab: Tree) -> Iterator[Problem]:
    """A rollout never gives a candidate less than before."""
    for path, release in releases(lab):
        steps = mapping(release.get("guard")).get("steps")
        if not isinstance(steps, list | tuple):
            continue
        if all(type(step) is int for step in steps) and [*steps] != sorted(set(steps)):
            yield (
                (*path, "guard", "steps"),
                "do not grow from each to the next; write them in order, each once, "
                "such as [5, 25, 50]",
            )


def what_is_compared_is_kept(lab: Tree) -> Iterator[Problem]:
    """Labels and shadows are joined with predictions that were logged."""
    for path, setting in _watched(lab, _FROM_LOGS):
        if lab.get("predictions") is None:
            yield (
                path,
                f"needs the predictions that {setting} is measured on, and the lab "
                "keeps none; add `predictions: {bucket: BUCKET}` to the lab",
            )


def retraining_has_a_reason(lab: Tree) -> Iterator[Problem]:
    """The guard starts a training when quality or drift says so, and only then."""
    for path, release in releases(lab):
        rules = mapping(release.get("guard"))
        watched = rules.get("quality") is not None or rules.get("drift") is not None
        if release.get("retrain") is not None and not watched:
            yield (
                (*path, "retrain"),
                "starts when quality or inputs decay, and nothing watches them; add "
                "`quality` or `drift` to the release's `guard`",
            )


def measured_by_our_server(
    lab: Tree,
    templates: Collection[str],
    facts: Callable[[str], TemplateFacts | None],
) -> Iterator[Problem]:
    """KServe's own servers log and sum up nothing."""
    for path, release in releases(lab):
        template = release.get("template")
        if not isinstance(template, str) or template not in templates:
            continue
        known = facts(template)
        if known is None or known.kind == "server":
            continue
        for setting in _FOR_OWN_SERVER:
            if mapping(release.get("guard")).get(setting) is not None:
                yield (
                    (*path, "guard", setting),
                    f"is measured by the lab's model server, and {template} is one of "
                    "KServe's own; remove it, or choose the template mlflow",
                )


RULES: tuple[Rule, ...] = (
    the_guard_reads_measurements,
    rules_have_a_guard,
    steps_grow,
    what_is_compared_is_kept,
    retraining_has_a_reason,
)


def receivers(lab: Tree) -> Iterator[tuple[Path, Tree]]:
    """Path and settings of each receiver of alerts."""
    found = mapping(mapping(lab.get("monitoring")).get("receivers"))
    for name, receiver in found.items():
        yield ("monitoring", "receivers", name), mapping(receiver)


def needs_secret(receiver: Tree) -> bool:
    """Whether the stack has to hold a secret for a receiver."""
    match receiver.get("kind"):
        case "slack":
            return True
        case "webhook":
            return receiver.get("url") is None
        case "email":
            return receiver.get("username") is not None
    return False


def _watched(lab: Tree, settings: Collection[str]) -> Iterator[tuple[Path, str]]:
    for path, release in releases(lab):
        for setting in settings:
            if mapping(release.get("guard")).get(setting) is not None:
                yield (*path, "guard", setting), setting
