"""What a live route carries that the settings may not have yet: the edits it asks for.

A verdict or a step of the guard stands on the route first. Here it becomes an edit of
the settings, unless a person has edited them meanwhile: what Pulumi applied last, which
the route says too, tells the two apart. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from labfactory.errors import LabError
from labfactory.releases import traffic
from labfactory.releases.decided import (
    Message,
    advanced,
    is_given,
    is_written,
    reapplied,
    step_message,
    step_told,
    verdict_message,
    verdict_told,
)
from labfactory.releases.roles import Tree, called
from labfactory.releases.routes import Progress, Verdict, progress_on, verdicts_on
from model_templates.routes import rules, settings_of
from stacks.schema import LabConfig, ReleaseConfig

Operation = Callable[[Tree], Tree]


@dataclass(frozen=True)
class Wanted:
    """An edit of the settings that a route asks for; it may be in them already."""

    release: str
    what: str
    """What has happened, as a sentence without a full stop."""
    operation: Operation
    message: Message
    """What its commit says."""


@dataclass(frozen=True)
class Carried:
    """What somebody wrote on one route."""

    release: str
    route: Mapping[str, Any]
    verdicts: tuple[Verdict, ...] = ()
    progress: Progress | None = None
    evidence: Mapping[str, str] = field(default_factory=dict)
    """Numbers behind the progress."""

    def of_verdict(self, verdict: Verdict, settings: LabConfig) -> Wanted:
        """The edit that takes variants back, as one of the verdicts says.

        Raises LabError when the settings have the release no more.
        """
        what = verdict_told(verdict)
        _still_there(self.release, settings, what)
        variants = settings.releases[self.release].variants
        rejected = [
            name
            for name in verdict.rejected
            if name in variants and variants[name].role != "rejected"
        ]
        return Wanted(
            self.release,
            what,
            partial(reapplied, rejected, verdict),
            verdict_message(verdict),
        )

    def of_progress(self, settings: LabConfig) -> Wanted | None:
        """The edit that gives a candidate what it has now; None where there is none.

        Raises LabError, which says what to do, when a person has edited the settings
        meanwhile.
        """
        step = self.progress
        if step is None or self._is_taken_back(step):
            return None
        what = step_told(step)
        _still_there(self.release, settings, what)
        config = settings.releases[self.release]
        if is_given(config, step):
            operation: Operation = _as_it_is
        elif self.is_agreed():
            return None  # what Pulumi has applied since then has taken its place
        else:
            self._is_live(step)
            _nobody_edited(self.release, config, applied(self.route), step)
            operation = partial(advanced, self.release, step)
        return Wanted(
            self.release,
            what,
            operation,
            step_message(self.release, step, self.evidence),
        )

    def is_agreed(self) -> bool:
        """Whether Pulumi has applied settings that say what the route does."""
        settings = applied(self.route)
        if settings is None:
            return False
        if not all(is_written(settings, verdict) for verdict in self.verdicts):
            return False
        meant = {"spec": {"rules": rules(self.release, settings)}}
        said = traffic.read(self.release, meant)
        return said == traffic.read(self.release, self.route)

    def _is_taken_back(self, step: Progress) -> bool:
        return any(step.variant in verdict.rejected for verdict in self.verdicts)

    def _is_live(self, step: Progress) -> None:
        weights = traffic.read(self.release, self.route).weights
        weight = weights.get(step.variant, 0)
        if weight != step.traffic:
            raise LabError(
                f"release {self.release}: {step_told(step)}, but the route gives it "
                f"{weight} per cent now, by somebody else's hand; `lab traffic "
                f"{self.release} {step.variant}=PERCENT` settles it"
            )


def carried(
    live: Mapping[str, Mapping[str, Any]],
    evidence: Mapping[str, Mapping[str, str]] = {},
) -> list[Carried]:
    """What live routes carry, of those that carry anything.

    `evidence` has the numbers behind each release's progress.
    """
    verdicts = verdicts_on(live)
    steps = progress_on(live)
    return [
        Carried(
            release=release,
            route=route,
            verdicts=tuple(each for each in verdicts if each.release == release),
            progress=steps.get(release),
            evidence=evidence.get(release, {}),
        )
        for release, route in live.items()
        if release in steps or any(each.release == release for each in verdicts)
    ]


def unwritten(
    release: str, settings: LabConfig, live: Mapping[str, Mapping[str, Any]]
) -> Operation:
    """What brings settings to where the guard has brought a release meanwhile."""
    if release in settings.releases:
        for each in carried({release: live[release]} if release in live else {}):
            with suppress(LabError):  # a person's edit stands
                if wanted := each.of_progress(settings):
                    return wanted.operation
    return _as_it_is


def applied(route: Mapping[str, Any]) -> ReleaseConfig | None:
    """The settings that Pulumi made a route of; None when it does not say them."""
    try:
        return settings_of(route)
    except ValueError:  # of another version of the lab
        return None


def _as_it_is(tree: Tree) -> Tree:
    return tree


def _still_there(release: str, settings: LabConfig, what: str) -> None:
    if release not in settings.releases:
        raise LabError(
            f"release {release}: {what}; the settings have the release no more, and "
            f"`lab up` removes it"
        )


def _nobody_edited(
    release: str, config: ReleaseConfig, base: ReleaseConfig | None, step: Progress
) -> None:
    """Refuse a step from where nobody but the guard has brought the settings."""
    variant = config.variants.get(step.variant)
    way = (
        f"`lab up` applies the settings as they are, `lab traffic {release} "
        f"{step.variant}=PERCENT` or `lab promote {release} {step.variant}` changes "
        "them"
    )
    if variant is None:
        said = f"{step.variant} is in the settings no more"
    elif variant.role != "candidate":
        said = f"in the settings it is {called(variant.role)} meanwhile"
    elif base and config.stable() != base.stable():
        said = f"the settings have made {config.stable()} the stable variant meanwhile"
    elif not _on_the_way(config, base, step):
        said = f"the settings were edited meanwhile and give it {variant.traffic}"
    else:
        return
    raise LabError(f"release {release}: {step_told(step)}, but {said}; {way}")


def _on_the_way(
    config: ReleaseConfig, base: ReleaseConfig | None, step: Progress
) -> bool:
    """Whether the candidate has what Pulumi applied, or an earlier step of the guard's.

    An earlier step is in the settings before Pulumi has it when this ran before.
    """
    now = config.variants[step.variant].traffic
    before = base.variants.get(step.variant) if base else None
    if before is None or now == before.traffic:
        return now <= step.traffic
    return before.traffic < now <= step.traffic and now in config.guard.steps
