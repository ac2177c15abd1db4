"""The plan: what a change of the settings means, and whether it may be applied."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from labfactory.agreements.clauses import Clause
from labfactory.backups.history import last_drill
from labfactory.costs.change import CostChange
from labfactory.releases.planning import meaning, promised, traps, way_back
from labfactory.releases.planning.applied import applied
from labfactory.releases.planning.facts import Live
from labfactory.releases.planning.meaning import Changes, ReleaseChange
from labfactory.releases.planning.objects import Object
from labfactory.releases.planning.way_back import Difference, Facts, WayBack
from labfactory.releases.traffic import Traffic
from labfactory.stack import Stack
from stacks.schema import ReleaseConfig

NOTHING, REFUSED, CHANGED = 0, 1, 2
"""Exit codes of `lab plan`."""


@dataclass(frozen=True)
class ReleasePlan:
    """What a change means for one release."""

    change: ReleaseChange
    contracts: Mapping[str, Difference] = field(default_factory=dict)
    """By variant: what a model that is new changes for the callers of the stable."""
    way_back: WayBack | None = None
    """None where there is nothing to go back to."""


@dataclass(frozen=True)
class Plan:
    """What a change means for a lab."""

    lab: str
    releases: tuple[ReleasePlan, ...]
    """The releases that do not stay as they are."""
    others: tuple[Object, ...]
    """Other objects that do not stay as they are."""
    steps: int
    """Steps that Pulumi would take."""
    refusals: tuple[str, ...]
    """Why it may not be applied: every reason, as a sentence."""
    no_way_back: str | None = None
    """Why it may be applied although it cannot be taken back."""
    costs: CostChange | None = None
    """None where nobody can reckon them."""
    clauses: tuple[Clause, ...] = ()
    """What of the agreements the change touches."""
    notes: tuple[str, ...] = ()
    """What should be known and refuses nothing: sentences."""

    @property
    def exit_code(self) -> int:
        """0 nothing to do, 1 refused, 2 changes."""
        if self.refusals:
            return REFUSED
        return CHANGED if self.steps else NOTHING


def plan(
    name: str, *, lose: Collection[str] = (), no_way_back: str | None = None
) -> Plan:
    """Return the plan of a lab's settings as they are now in its stack file.

    `lose` names stateful objects (KIND/NAME) that may go. Raises LabError when Pulumi
    cannot tell what would change.
    """
    stack = Stack(name)
    settings = stack.settings
    with Live(settings) as facts:
        # What costs little is asked for while Pulumi works, the rest when it matters.
        drill = last_drill(settings)
        preview = stack.preview(drill=drill, judged=False)
        changes = meaning.read(preview)
        facts.tracking_url = changes.outputs.get("tracking_url")
        found = judge(
            name,
            changes,
            settings.releases,
            facts,
            lose=lose,
            no_way_back=no_way_back,
        )
    also = promised.look(
        changes,
        settings,
        applied(stack),
        datetime.now(UTC).date(),
        drill=drill,
        policies=preview.get("policies") or (),
    )
    return replace(
        found,
        refusals=(*found.refusals, *also.refusals),
        costs=also.costs,
        clauses=also.clauses,
        notes=also.notes,
    )


def judge(
    lab: str,
    changes: Changes,
    settings: Mapping[str, ReleaseConfig],
    facts: Facts,
    *,
    lose: Collection[str] = (),
    no_way_back: str | None = None,
) -> Plan:
    """Return the plan of `changes`, towards the releases in `settings`.

    Asks `facts` about releases that change, and nothing about the others.
    """
    changing = [release for release in changes.releases if release.changed]
    undone = {r.name for r in changing if _is_taken_back(r, settings.get(r.name))}
    with ThreadPoolExecutor(max_workers=8) as pool:
        releases = list(
            pool.map(
                lambda r: (
                    ReleasePlan(r) if r.name in undone else _release(r, changes, facts)
                ),
                changing,
            )
        )
        unready = list(pool.map(lambda r: [*_unready(r, facts)], changing))
    named = {name.casefold() for name in lose}
    refusals = [
        *_lost(changes, named),
        *(text for release in changing for text in _cut_off(release, named)),
        *(text for texts in unready for text in texts),
        *(text for release in releases for text in _breaking(release, settings)),
        *_trapped(changes),
    ]
    if not no_way_back:
        refusals += [text for release in releases for text in _one_way(release)]
    return Plan(
        lab=lab,
        releases=tuple(releases),
        others=tuple(found for found in changes.others if found.op != "same"),
        steps=changes.steps,
        refusals=tuple(dict.fromkeys(refusals)),
        no_way_back=no_way_back,
    )


def _is_taken_back(release: ReleaseChange, config: ReleaseConfig | None) -> bool:
    """Whether the change is a rollback: no contract stands in its way."""
    stable = release.before.stable if release.before else None
    now = config.variants.get(stable.name) if config and stable else None
    return now is not None and now.role == "rejected"


def _release(release: ReleaseChange, changes: Changes, facts: Facts) -> ReleasePlan:
    return ReleasePlan(
        change=release,
        contracts=_contracts(release, facts),
        way_back=way_back.find(
            release,
            facts,
            image=_image_of_the_way_back(release, changes),
            more=changes.more_promised,
        ),
    )


def _contracts(release: ReleaseChange, facts: Facts) -> dict[str, Difference]:
    """The contracts of models that are new here, or new as the stable one."""
    before, after = release.before, release.after
    if after is None:
        return {}
    base = before.stable if before and before.stable else after.stable
    found = {}
    for name, variant in after.variants.items():
        was = before.variants.get(name) if before else None
        known = way_back.same_model(was, variant) and variant != after.stable
        if base and not known and not way_back.same_model(variant, base):
            found[name] = way_back.difference(facts, release.name, base, variant)
    return found


def _image_of_the_way_back(release: ReleaseChange, changes: Changes) -> str | None:
    """The image of the runtime that the program would give the target now."""
    back = way_back.target(release)
    if back is None:
        return None
    stable = release.after.stable if release.after else None
    return changes.image((stable or back).runtime)


def _lost(changes: Changes, named: Collection[str]) -> Iterator[str]:
    for found in changes.objects:
        if found.loses_data and found.ref.casefold() not in named:
            differs = f" ({', '.join(found.because)} differs)" if found.because else ""
            yield (
                f"{found.ref}: would be {found.op}d{differs}, and what it holds would "
                f"be lost; keep it as it is, or name it: --lose {found.ref}"
            )


def _cut_off(release: ReleaseChange, named: Collection[str]) -> Iterator[str]:
    """A variant that answers requests now, and would be gone."""
    before, after = release.before, release.after
    if before is None:
        return
    if after is None:
        if before.traffic.weights and f"httproute/{release.name}" not in named:
            yield (
                f"release {release.name!r}: answers requests now, and would be gone; "
                f"keep it, or name it: --lose HTTPRoute/{release.name}"
            )
        return
    for name in before.variants:
        ref = f"InferenceService/{release.name}-{name}"
        answers = before.traffic.answers(name)
        if answers and name not in after.variants and ref.casefold() not in named:
            yield (
                f"release {release.name!r}: variant {name!r} answers requests now, and "
                f"would be gone; give its share to another variant and apply that "
                f"first, or name it: --lose {ref}"
            )


def _unready(release: ReleaseChange, facts: Facts) -> Iterator[str]:
    """A variant that would get more requests, stays as it is, and cannot answer."""
    if release.after is None:
        return
    now = release.before.traffic if release.before else Traffic()
    then = release.after.traffic
    for name in release.after.variants:
        service = release.service(name)
        more = then.weights.get(name, 0) > now.weights.get(name, 0)
        matched = set(then.matches.get(name, ())) - set(now.matches.get(name, ()))
        if not service or service.op != "same" or not (more or matched):
            continue
        if not facts.ready(service.name):
            where = f"release {release.name!r}, variant {name!r}"
            yield traps.load()["not-ready"].sentence(f"{where}: is not ready now")


def _breaking(
    release: ReleasePlan, settings: Mapping[str, ReleaseConfig]
) -> Iterator[str]:
    name = release.change.name
    config = settings.get(name)
    for variant, difference in release.contracts.items():
        if difference.kind != "breaking" or config is None:
            continue
        wanted = config.variants.get(variant)
        if wanted is None or wanted.accept_breaking:
            continue
        if wanted.role in ("candidate", "stable"):
            yield (
                f"release {name!r}: variant {variant!r} breaks the contract of the "
                f"stable one ({'; '.join(difference.columns)}); give the model a "
                f'release of its own, or say why: `accept_breaking: "reason"`'
            )


def _trapped(changes: Changes) -> Iterator[str]:
    there = [found for found in changes.objects if found.after]
    owned = {traps.autoscaled(found.kind, found.after) for found in there}
    for found in there:
        yield from traps.found(found.kind, found.after, autoscaled=found.ref in owned)


def _one_way(release: ReleasePlan) -> Iterator[str]:
    back = release.way_back
    if back and not back.open:
        yield (
            f"release {release.change.name!r}: there is no way back to "
            f"{back.target!r} ({'; '.join(back.obstacles)}); mend that, or apply it "
            f'all the same with --no-way-back "reason"'
        )
