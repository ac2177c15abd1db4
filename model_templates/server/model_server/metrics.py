"""What Prometheus reads at /metrics, beside the KServe SDK's own figures."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

LABELS = ("model", "served_by")
BOUNDS = (*(float(f"{0.001 * 1.1**step:.4g}") for step in range(97)), 10.0)
"""Upper bounds of latencies in seconds, each a tenth above the one before: a quantile
that is read from them is right to a twentieth."""
LOGGED = Gauge(
    "lab_model_logged_timestamp_seconds", "When the run had made the model", LABELS
)
PREDICTIONS = Counter("lab_model_predictions", "Rows that were answered", LABELS)
REJECTS = Counter("lab_model_rejects", "Requests refused with 400", (*LABELS, "reason"))
FAILURES = Counter("lab_model_failures", "Requests the model failed on", LABELS)
SECONDS = Histogram(
    "lab_model_request_seconds",
    "From the whole body read to the answer ready",
    (*LABELS, "protocol"),
    buckets=BOUNDS,
)
LOG_DROPPED = Counter(
    "lab_model_log_dropped", "Answers the log of predictions had no room for", LABELS
)
EXTERNAL_CALLS = Counter(
    "lab_model_external_calls",
    "Calls of an endpoint that is not ours, each try by how it ended",
    (*LABELS, "outcome"),
)
EXTERNAL_COST = Counter(
    "lab_model_external_cost", "Price of the calls that were answered", LABELS
)
