"""What watches a lab: measurements, the guard, and what takes labels, as far as asked
for."""

from __future__ import annotations

from collections.abc import Callable

import pulumi

from components.cluster import Cluster
from components.feedback import Feedback
from components.guard import Guard
from components.monitoring import Monitoring
from components.platform import Gateway
from components.storage import Storage
from components.watched import watched
from stacks.schema import LabConfig


def watch(
    lab: LabConfig,
    cluster: Cluster,
    *,
    secret: Callable[[str], pulumi.Output[str]],
    storage: Storage,
    gateway: Gateway,
) -> dict[str, pulumi.Output[str]]:
    """Declare the rooms that watch `lab`; return their addresses by name."""
    found = {}
    if lab.monitoring:
        facts = watched(lab, signed_kubelets=cluster.signed_kubelets)
        monitoring = Monitoring(
            "monitoring",
            lab.monitoring,
            watched=facts,
            secret=secret,
            **cluster.volumes,
        )
        found = {
            "monitoring_url": monitoring.url,
            "alerts_url": monitoring.alerts_url,
        }
    if lab.monitoring and lab.guard:
        Guard(
            "guard",
            lab.guard,
            monitoring=lab.monitoring,
            releases=lab.releases,
            lab=lab.name,
            owner=lab.owner,
            artifacts=lab.tracking.bucket,
            **cluster.pods,
        )
    if lab.takes_feedback:
        Feedback(
            "feedback",
            lab=lab.name,
            seed=secret("seed"),
            storage=storage,
            gateway=gateway,
            **cluster.pods,
        )
    return found
