"""Counts of one release that are not handed on yet. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from labfactory.guard.counters import Increment
from labfactory.guard.gateway import Sent, Variant, variant_of
from labfactory.releases.decisions.observed import INFINITE, Agreement, Counts

REJECTS = "lab_model_rejects_total"
SECONDS = "lab_model_request_seconds_bucket"
GATEWAY_MS = "envoy_cluster_upstream_rq_time_bucket"
LABELLED = "lab_feedback_labelled_total"
WRONG = "lab_feedback_wrong_total"
COMPARED = "lab_agreement_compared_total"
AGREED = "lab_agreement_agreed_total"


@dataclass
class Variants:
    """What has been counted of the variants of one release."""

    sent: dict[str, Sent] = field(default_factory=lambda: defaultdict(Sent))
    counted: dict[tuple[str, str], float] = field(
        default_factory=lambda: defaultdict(float)
    )
    """By metric and variant."""
    below: dict[str, dict[float, float]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(float))
    )
    """Answers within each bound in seconds, cumulative, by variant."""

    def counts(self) -> dict[str, Counts]:
        """What a look at the release tells; what is left over stays for the next.

        The gateway and the models are not measured at one instant: more rejects than
        requests wait for the requests.
        """
        names = {*self.sent, *self.below, *(name for _, name in self.counted)}
        found = {name: self._counts(name) for name in sorted(names)}
        self.sent.clear()
        self.below.clear()
        rejects = {
            (REJECTS, name): self.counted[REJECTS, name] - each.rejects
            for name, each in found.items()
            if self.counted[REJECTS, name] > each.rejects
        }
        self.counted.clear()
        self.counted.update(rejects)
        return found

    def agreement(self) -> dict[str, Agreement]:
        """What shadows have said; to be asked before `counts`."""
        return {
            shadow: Agreement(
                compared=round(compared),
                agreed=round(min(compared, self.counted.get((AGREED, shadow), 0.0))),
            )
            for (metric, shadow), compared in sorted(self.counted.items())
            if metric == COMPARED
        }

    def _counts(self, name: str) -> Counts:
        sent = self.sent.get(name, Sent())
        requests = round(sent.requests)
        labelled = round(self.counted.get((LABELLED, name), 0.0))
        return Counts(
            requests=requests,
            errors=min(requests, round(sent.errors)),
            rejects=min(requests, round(self.counted.get((REJECTS, name), 0.0))),
            latency=_apart(self.below.get(name, {})),
            labelled=labelled,
            wrong=min(labelled, round(self.counted.get((WRONG, name), 0.0))),
        )


class Pending:
    """What has been counted of all releases and was not handed on."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._releases: dict[str, Variants] = defaultdict(Variants)

    def of(self, release: str) -> Variants:
        """What was counted of one release."""
        return self._releases[release]

    def forget(self) -> None:
        """Begin with nothing."""
        self._releases.clear()

    def sent(self, sent: Mapping[Variant, Sent]) -> None:
        """Add what the gateway has sent."""
        for (release, variant), new in sent.items():
            each = self._releases[release].sent[variant]
            each.requests += new.requests
            each.errors += new.errors

    def count(self, increments: Iterable[Increment]) -> None:
        """Add what models and labels have counted."""
        for increment in increments:
            labels, count = increment.labels, increment.count
            release, variant = variant_of(labels)
            variant = labels.get("shadow", variant)
            name = labels.get("__name__", "")
            if not release or not variant or name == "up":
                continue
            if name in (SECONDS, GATEWAY_MS):
                bound = _seconds(labels.get("le", ""), name)
                self._releases[release].below[variant][bound] += count
            else:
                self._releases[release].counted[name, variant] += count


def _seconds(bound: str, metric: str) -> float:
    """A bucket's bound in seconds; Envoy's are in milliseconds."""
    try:
        found = float(bound)
    except ValueError:
        return INFINITE
    return found / 1000 if metric == GATEWAY_MS else found


def _apart(below: Mapping[float, float]) -> dict[float, int]:
    """Answers by bucket out of answers within each bound."""
    found, before = {}, 0
    for bound in sorted(below):
        count = round(below[bound])
        found[bound] = max(0, count - before)
        before = max(before, count)
    return found if before else {}
