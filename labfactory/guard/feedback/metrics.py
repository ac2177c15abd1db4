"""What Prometheus reads of the join: its tallies, as they are at that moment."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from labfactory.guard.feedback.follow import Follower

REASONS = ("duplicate", "form", "label", "row")


class Tallies(Collector):
    """A series of 0 is there from the start: a first increment would be lost else."""

    def __init__(self, follower: Follower) -> None:
        """Tell what the releases of `follower` have counted."""
        self._follower = follower

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield every counter; a release that is gone has none any more."""
        by_variant, by_shadow = ["release", "variant"], ["release", "shadow"]
        labelled = CounterMetricFamily(
            "lab_feedback_labelled",
            "Predictions whose label has come",
            None,
            by_variant,
        )
        wrong = CounterMetricFamily(
            "lab_feedback_wrong", "Those of them that were wrong", None, by_variant
        )
        unknown = CounterMetricFamily(
            "lab_feedback_unknown",
            "Labels that no prediction was found for",
            None,
            ["release"],
        )
        duplicate = CounterMetricFamily(
            "lab_feedback_duplicate", "Labels that had come before", None, ["release"]
        )
        refused = CounterMetricFamily(
            "lab_feedback_refused",
            "Labels that were not taken, or did not fit",
            None,
            ["release", "reason"],
        )
        compared = CounterMetricFamily(
            "lab_agreement_compared",
            "Requests that a shadow and what it shadows have answered",
            None,
            by_shadow,
        )
        agreed = CounterMetricFamily(
            "lab_agreement_agreed", "Those on which both agree", None, by_shadow
        )
        for name, release in (self._follower.releases or {}).items():
            rules, tally = release.joined.rules, release.joined.tally
            if rules.quality:
                unknown.add_metric([name], tally.unknown)
                duplicate.add_metric([name], tally.duplicate)
                for reason in REASONS:
                    refused.add_metric([name, reason], tally.refused[reason])
                for variant in rules.variants:
                    # Wrong ones first, so that there are never more than labelled ones.
                    wrong.add_metric([name, variant], tally.wrong[variant])
                    labelled.add_metric([name, variant], tally.labelled[variant])
            for shadow in rules.shadows if rules.agreement else ():
                agreed.add_metric([name, shadow], tally.agreed[shadow])
                compared.add_metric([name, shadow], tally.compared[shadow])
        yield from (labelled, wrong, unknown, duplicate, refused, compared, agreed)
