"""Alerts about releases: each one's own limits, and what no model should do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from components.alerts.alert import PAGE, TICKET, Alert
from stacks.schema import ReleaseConfig

FEWEST = 20
"""Requests in five minutes below which a share of them says nothing."""
REFUSED = 0.5
"""Share of refused requests that is too much where a release sets no limit."""

_BY = "sum by (release, variant)"
REQUESTS = "variant:gateway_requests:rate5m"
ERRORS = "variant:gateway_errors:share5m"


def _seconds(quantile: str, match: str = "") -> str:
    """How long answers take, by the model server or, without one of ours, by Envoy."""
    models = f'lab_model_request_seconds_bucket{{job="models"{match}}}[5m]'
    gateway = f'envoy_cluster_upstream_rq_time_bucket{{job="gateway"{match}}}[5m]'
    by = "sum by (release, variant, le)"
    return (
        f"(histogram_quantile({quantile}, {by} (rate({models})))\n"
        f"  or histogram_quantile({quantile}, {by} (rate({gateway}))) / 1000)"
    )


RECORDED = {
    REQUESTS: f'{_BY} (rate(envoy_cluster_upstream_rq_completed{{job="gateway"}}[5m]))',
    ERRORS: f"{_BY} (rate(envoy_cluster_upstream_rq_xx"
    '{job="gateway",envoy_response_code_class="5"}[5m]))\n'
    f"  / {REQUESTS}",
    "variant:model_rejects:share5m": f"{_BY} (rate(lab_model_rejects_total"
    f'{{job="models"}}[5m]))\n  / {REQUESTS}',
    "variant:request_seconds:p50_5m": _seconds("0.5"),
    "variant:request_seconds:p95_5m": _seconds("0.95"),
}
"""Series that are worked out for alerts and dashboards, by name."""


def alerts(settings: Mapping[str, ReleaseConfig]) -> list[Alert]:
    """The alerts of the releases in `settings`."""
    own = [alert for name, release in settings.items() for alert in _own(name, release)]
    return [*own, *EVERY]


def _own(name: str, release: ReleaseConfig) -> Iterator[Alert]:
    """Limits of one release; shadows answer nobody, so they break none."""
    shadows = [n for n, v in release.variants.items() if v.role == "shadow"]
    others = f',variant!~"{"|".join(shadows)}"' if shadows else ""
    match = f'release="{name}"{others}'
    enough = f"{REQUESTS}{{{match}}} * 300 >= {FEWEST}"
    rules = release.guard
    where = "{{ $labels.release }} ({{ $labels.variant }})"
    back = f"`lab status` shows its variants; `lab rollback {name}` goes back at once."
    if rules.errors.at_most is not None:
        yield Alert(
            name="ReleaseErrors",
            expr=f"{ERRORS}{{{match}}} > {rules.errors.at_most}\nand {enough}",
            hold="1m",
            severity=PAGE,
            summary=f"{where}: {{{{ $value | humanizePercentage }}}} of the requests "
            "fail",
            why="Callers get status 5xx, or no answer; at most "
            f"{rules.errors.at_most:.3g} of the requests may.",
            do=back,
        )
    if rules.latency.at_most is not None:
        slow = _seconds(str(rules.latency.quantile), f",{match}")
        yield Alert(
            name="ReleaseSlow",
            expr=f"{slow} > {rules.latency.at_most}\nand {enough}",
            hold="2m",
            severity=PAGE,
            summary=f"{where}: answers take {{{{ $value | humanizeDuration }}}}",
            why=f"The {rules.latency.quantile:.3g} quantile may be "
            f"{rules.latency.at_most:.3g} s at most.",
            do=back,
        )
    refused = REFUSED if rules.rejects.at_most is None else rules.rejects.at_most
    yield Alert(
        name="VariantRejects",
        expr=f"variant:model_rejects:share5m{{{match}}} > {refused}\nand {enough}",
        hold="5m",
        severity=TICKET,
        summary=f"{where}: {{{{ $value | humanizePercentage }}}} of the requests are "
        "refused",
        why="The model refuses what callers send: it breaks the contract (status 400).",
        do=f"Compare what is sent with the contract of {name}; an answer says which "
        "column is wrong.",
    )


EVERY = [
    Alert(
        name="VariantNotReady",
        expr=f'{_BY} (kube_deployment_status_replicas_available{{variant!=""}}) == 0\n'
        f'and {_BY} (kube_deployment_spec_replicas{{variant!=""}}) > 0',
        hold="3m",
        severity=PAGE,
        summary="{{ $labels.release }} ({{ $labels.variant }}): no pod is ready",
        why="Requests that it is given fail; the gateway does not send them elsewhere.",
        do="`lab rollback {{ $labels.release }}` goes back at once; "
        "`kubectl --namespace NAMESPACE describe pods --selector "
        "serving.kserve.io/inferenceservice="
        "{{ $labels.release }}-{{ $labels.variant }}` says why.",
    ),
    Alert(
        name="ModelLogDropped",
        expr=f"{_BY} (increase(lab_model_log_dropped_total[10m])) > 0",
        hold="5m",
        severity=TICKET,
        summary="{{ $labels.release }} ({{ $labels.variant }}): answers are not kept",
        why="Labels and shadows cannot be compared with answers that were not kept.",
        do="See whether the store answers and has room (`lab status`), or raise the "
        "release's `replicas`.",
    ),
    Alert(
        name="ExternalEndpointFailing",
        expr=f"{_BY} (rate(lab_model_external_calls_total"
        '{outcome!="answered"}[5m]))\n'
        f"  / {_BY} (rate(lab_model_external_calls_total[5m])) > 0.2\n"
        f"and {_BY} (increase(lab_model_external_calls_total[5m])) >= {FEWEST}",
        hold="2m",
        severity=PAGE,
        summary="{{ $labels.release }} ({{ $labels.variant }}): "
        "{{ $value | humanizePercentage }} of the calls of its endpoint fail",
        why="Somebody else's endpoint is away, busy or answers what nobody expects.",
        do="The model server's log says how it fails; "
        "`lab rollback {{ $labels.release }}` does without it.",
    ),
    Alert(
        name="BatchFailed",
        expr='kube_job_failed{condition="true",job_name=~"batch-.+"} == 1\n'
        "and on (job_name) time() - kube_job_created < 86400",
        severity=TICKET,
        summary="{{ $labels.release }}: the batch run {{ $labels.job_name }} failed",
        why="Its predictions are not complete.",
        do="`kubectl --namespace NAMESPACE logs job/{{ $labels.job_name }}` says why; "
        "`lab batch {{ $labels.release }}` starts another.",
    ),
]
"""Alerts that are the same for every release."""
