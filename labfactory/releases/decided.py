"""What a verdict, or a step of the guard, means for the settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from labfactory.guard.wanted import short
from labfactory.releases import changes
from labfactory.releases.roles import Tree
from labfactory.releases.routes import Progress, Verdict
from stacks.schema import ReleaseConfig


class Message(TypedDict):
    """What a commit says: a subject, a reason, and evidence as trailers."""

    subject: str
    reason: str
    evidence: Mapping[str, str]


def is_written(config: ReleaseConfig, verdict: Verdict) -> bool:
    """Whether settings take back what the verdict does, or have it no more."""
    return all(
        name not in config.variants or config.variants[name].role == "rejected"
        for name in verdict.rejected
    )


def reapplied(rejected: Sequence[str], verdict: Verdict, tree: Tree) -> Tree:
    """The settings with the variants `rejected` taken back, as the verdict says."""
    for variant in rejected:
        tree = changes.roll_back(
            tree, verdict.release, because=short(verdict.because), variant=variant
        )
    return tree


def verdict_message(verdict: Verdict) -> Message:
    """What the commit of a verdict's edit says."""
    taken = ", ".join(verdict.rejected)
    return Message(
        subject=f"Roll back {verdict.release}: {taken} taken back",
        reason=verdict.because,
        evidence={
            "Rolled-back-by": verdict.by,
            "Rolled-back-at": verdict.at,
            **verdict.evidence,
        },
    )


def verdict_told(verdict: Verdict) -> str:
    """A verdict as a sentence."""
    names = ", ".join(verdict.rejected)
    return f"{names} was taken back by {verdict.by} at {verdict.at}: {verdict.because}"


def is_given(config: ReleaseConfig, step: Progress) -> bool:
    """Whether settings of a release give a candidate what the guard gave it."""
    variant = config.variants.get(step.variant)
    role = "stable" if step.traffic == 100 else "candidate"
    return bool(variant and (variant.role, variant.traffic) == (role, step.traffic))


def advanced(release: str, step: Progress, tree: Tree) -> Tree:
    """The settings with what the guard gave a candidate; all requests promote it."""
    if step.traffic == 100:
        return changes.promote(tree, release, step.variant)
    return changes.weigh(tree, release, {step.variant: step.traffic})


def step_message(release: str, step: Progress, evidence: Mapping[str, str]) -> Message:
    """What the commit of a step's edit says; `evidence` are the numbers behind it."""
    subject = f"Send {step.variant}={step.traffic} per cent of {release}'s "
    subject += "requests"
    if step.traffic == 100:
        subject = f"Promote {release} {step.variant}"
    return Message(
        subject=subject,
        reason=step.because,
        evidence={
            "Promoted-by": "guard",
            "Promoted-at": step.at,
            **evidence,
        },
    )


def step_told(step: Progress) -> str:
    """A step of the guard as a sentence."""
    if step.traffic == 100:
        return f"the guard promoted {step.variant} at {step.at}"
    return f"the guard gave {step.variant} {step.traffic} per cent at {step.at}"
