"""Settings of a lab that is watched, and Prometheus' own tools, for several tests."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.watched import Watched, prices
from labfactory import tools
from labfactory.progress import Progress
from stacks.schema import LabConfig, ReleaseConfig
from stacks.watching import MonitoringConfig
from tests import promised
from tests.harness import example, variant

DAY = 86400


def releases(**guard: Any) -> Mapping[str, ReleaseConfig]:
    """The release `iris` with rules of the `guard`, and a shadow `v3`."""
    shadow = {**variant(3), "role": "shadow", "traffic": 0, "mirror": 100}
    candidate = {**variant(2), "role": "candidate", "traffic": 10}
    stable = {**variant(1), "traffic": 90}
    iris = {
        "template": "mlflow",
        "guard": guard,
        "variants": {"v1": stable, "v2": candidate, "v3": shadow},
    }
    lab = LabConfig.model_validate(example(agreements={}, releases={"iris": iris}))
    return lab.releases


PROMISING = LabConfig.model_validate(
    example(
        agreements={
            "standard": {
                "owner": "vision",
                "cost": {"monthly": 100.0},
                "recovery": {"rpo_minutes": 240, "rto_minutes": 60},
            }
        },
        backups={"store": {"kind": "minio", "capacity": "5Gi"}, "staging": "5Gi"},
    )
)
WATCHED = Watched(
    lab="example",
    releases=releases(latency={"at_most": 0.5}),
    gateway_namespace="projectcontour",
    store_bytes=16 * 2**30,
    database_bytes=4 * 2**30,
    guard=True,
    feedback=True,
    signed_kubelets=True,
    credentials_end=40 * DAY,
    promises=PROMISING,
    rates=prices(PROMISING),
    agreements=promised.WATCHED,
    under={"iris": promised.WATCHED["standard"]},
)
BARE = Watched(
    lab="bare",
    releases={},
    gateway_namespace="gateways",
    store_bytes=None,
    database_bytes=4 * 2**30,
    guard=False,
    feedback=False,
    signed_kubelets=False,
    credentials_end=40 * DAY,
)
RECEIVERS: Mapping[str, Any] = {
    "hook": {"kind": "webhook", "url": "https://alerts.example.com/lab"},
    "nobody": {"kind": "webhook"},
    "chat": {"kind": "slack", "channel": "#lab-alerts"},
    "mail": {
        "kind": "email",
        "to": "team@example.com",
        "sender": "lab@example.com",
        "server": "smtp.example.com:587",
        "username": "lab",
    },
    "relay": {
        "kind": "email",
        "to": "team@example.com",
        "sender": "lab@example.com",
        "server": "relay.example.com:25",
    },
}
RECEIVER_SECRETS = {
    "nobody": "https://alerts.example.com/not-a-secret-hook",
    "chat": "https://chat.example.com/not-a-secret-channel",
    "mail": "not-a-secret-password",
}
MONITORING = MonitoringConfig.model_validate({"receivers": RECEIVERS})


def run(tool: str, *arguments: str | Path) -> str:
    """What `promtool` or `amtool` prints; AssertionError when it finds a mistake."""
    tools.ensure([tool], Progress())
    done = subprocess.run(
        [tools.path(tool), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
