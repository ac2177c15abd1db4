"""Settings of a lab with agreements, for several tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stacks.promises import AgreementConfig
from stacks.schema import LabConfig
from tests.harness import example, variant

SHADOW = {**variant(3), "role": "shadow", "traffic": 0, "mirror": 100}
CANDIDATE = {**variant(2), "role": "candidate", "traffic": 10}
BACKUPS: Mapping[str, Any] = {
    "store": {"kind": "minio", "capacity": "40Gi"},
    "staging": "20Gi",
}
IRIS: Mapping[str, Any] = {
    "template": "mlflow",
    "guard": {"quality": {}},
    "variants": {"v1": {**variant(1), "traffic": 90}, "v2": CANDIDATE, "v3": SHADOW},
}
"""A release with a stable variant, a candidate and a shadow."""
ALONE: Mapping[str, Any] = {
    "template": "mlflow",
    "guard": {"quality": {}},
    "variants": {"main": variant(1)},
}
STANDARD: Mapping[str, Any] = {
    "owner": "vision",
    "consumers": ["shop"],
    "objectives": {
        "availability": 0.99,
        "latency": {"share": 0.95, "seconds": 0.5},
        "freshness_days": 90,
        "quality": 0.8,
    },
    "cost": {"monthly": 200.0},
    "deadlines": {
        "retrain_by": "2026-12-31",
        "review_by": "2027-06-30",
        "retire_by": "2027-12-31",
    },
    "capacity": {"cpu": "4000m", "memory": "8Gi", "releases": 3},
    "recovery": {"rpo_minutes": 60, "rto_minutes": 30},
}
"""An agreement that makes every promise there is."""
OF_RELEASES = {k: v for k, v in STANDARD.items() if k not in ("capacity", "recovery")}
"""What of it can be promised about some releases alone."""

WATCHED: Mapping[str, AgreementConfig] = {
    "standard": AgreementConfig.model_validate(
        {
            **STANDARD,
            # The clock of promtool begins in 1970.
            "deadlines": {"retrain_by": "1970-01-01", "review_by": "1970-01-20"},
        }
    )
}
"""The agreement that the cases in `tests/alerts/agreements.yaml` are about."""


def promised(**sections: Any) -> LabConfig:
    """A lab with the release `iris`, under the agreement `standard`."""
    settings = {
        "releases": {"iris": IRIS},
        "agreements": {"standard": STANDARD},
        "backups": BACKUPS,
    }
    return LabConfig.model_validate(example(**{**settings, **sections}))


def under(lab: LabConfig) -> dict[str, AgreementConfig]:
    """The agreement of each release that has one."""
    found = {release: lab.agreement_of(release) for release in lab.releases}
    return {release: each[1] for release, each in found.items() if each}
