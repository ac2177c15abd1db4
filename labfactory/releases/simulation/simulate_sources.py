"""What is simulated: a release's settings, and a trace that fits them."""

from __future__ import annotations

import time
from pathlib import Path

from labfactory.errors import LabError
from labfactory.releases.decisions.observed import Observed
from labfactory.releases.simulation.scenarios import BUILT_IN
from labfactory.releases.simulation.trace_files import read, write
from labfactory.releases.simulation.traces import Made, Pair, Recorded, Trace
from stacks.schema import ReleaseConfig
from stacks.watching import GuardConfig, MonitoringConfig

EXAMPLE = ReleaseConfig.model_validate(
    {
        "template": "mlflow",
        "guard": {"steps": [10, 25, 50, 100], "step_seconds": 120},
        "variants": {
            name: {
                "version": number,
                "artifact": f"s3://models/example/{number}",
                "digest": "sha256:" + f"{number:x}" * 64,
                "role": role,
                "traffic": traffic,
            }
            for number, (name, role, traffic) in enumerate(
                (("v1", "stable", 90), ("v2", "candidate", 10)), 1
            )
        },
    }
)
"""What is simulated when no lab is named."""


def variants(release: str, settings: ReleaseConfig) -> Pair:
    """What is compared: stable and candidate, or, after a promotion, previous and
    stable; raises LabError when there is nothing to compare."""
    roles = {variant.role: name for name, variant in settings.variants.items()}
    stable = settings.stable()
    if "candidate" in roles:
        return Pair(stable, roles["candidate"])
    if "previous" in roles:
        return Pair(roles["previous"], stable)
    raise LabError(
        f"release {release!r}: has no candidate to decide about; `lab release "
        f"{release} VERSION` adds one"
    )


def of_lab(lab: str, release: str) -> tuple[ReleaseConfig, float, int]:
    """A release's settings, the seconds between two looks, and the actions an hour.

    Raises LabError when the lab has no such release.
    """
    from labfactory.stack import Stack

    settings = Stack(lab).settings
    if release not in settings.releases:
        there = ", ".join(settings.releases) or "none"
        raise LabError(
            f"lab {lab!r}: has no release {release!r} (there is: {there}); name one"
        )
    monitoring = settings.monitoring or MonitoringConfig()
    guarding = settings.guard or GuardConfig()
    return (
        settings.releases[release],
        float(monitoring.interval_seconds),
        guarding.actions_per_hour,
    )


def record(lab: str, release: str, file: Path, *, hours: float) -> None:
    """Write what the lab has measured of a release in the last `hours` as a trace.

    Raises LabError when there is no such release, or nothing was measured of it.
    """
    from labfactory import labs
    from labfactory.releases.simulation import trace_recorder
    from labfactory.stack import Stack

    _, interval, _ = of_lab(lab, release)
    url = labs.outputs(Stack(lab)).get("monitoring_url")
    if url is None:
        raise LabError(
            f"lab {lab!r}: measures nothing; add `monitoring: {{}}` to its settings"
        )
    now = time.time()
    looks = trace_recorder.record(
        url, release, start=now - hours * 3600, end=now, interval=interval
    )
    write(file, looks)


def trace_of(
    name: str, release: str, settings: ReleaseConfig, *, seed: int, interval: float
) -> Trace:
    """The made trace of that name, or the recorded one in that file.

    Raises LabError when there is neither, or when it is of another release.
    """
    if name not in BUILT_IN:
        file = Path(name)
        if not file.exists():
            raise LabError(
                f"trace {name!r}: there is no such file, and no made trace of that "
                f"name (there is: {', '.join(BUILT_IN)}); name one"
            )
        return _fitting(file, read(file), release, settings)
    known = BUILT_IN[name]
    rules = settings.guard
    # Half as long again as nobody hesitates: a hold is to be seen, and has an end.
    seconds = 1.5 * (len(rules.steps) * rules.step_seconds + rules.watch_seconds)
    return Made(
        known.scenario(),
        seed,
        looks=max(60, round(seconds / interval)),
        interval=interval,
        pair=variants(release, settings),
        service=known.service,
    )


def _fitting(
    file: Path, looks: list[Observed], release: str, settings: ReleaseConfig
) -> Recorded:
    """The looks as a trace; raises LabError when they are of another release."""
    seen = {name for look in looks for name in (*look.counts, *look.ready)}
    if seen and not seen & {*settings.variants}:
        raise LabError(
            f"{file}: has the variants {', '.join(sorted(seen))}, and release "
            f"{release!r} has {', '.join(settings.variants)}; name another release, "
            "or a trace of this one"
        )
    return Recorded(looks)
