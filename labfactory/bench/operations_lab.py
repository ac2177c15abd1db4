"""The lab of the figures about operations: watched, backed up, under an agreement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labfactory.backups import jobs
from labfactory.bench.ground import NAME, Ground, unwatched
from labfactory.demo.story import Demo
from labfactory.settings.edit import edit

RPO_MINUTES = 1440
RTO_MINUTES = 60


def promising(ground: Ground) -> Demo:
    """The lab, up; a new one unless the bench's lab has backups already."""
    if ground.stack.file.exists() and ground.stack.settings.backups:
        return ground.lab()
    # What other figures have broken must not be in the way of these.
    ground.clear()
    demo = ground.lab()
    edit(ground.stack.file, promised).write()
    demo.outputs = demo.apply()
    return demo


def backed_up(ground: Ground) -> Demo:
    """The same with a backup of this moment. Raises LabError."""
    demo = promising(ground)
    jobs.back_up(NAME, progress=ground.progress)
    return demo


def promised(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A lab's settings with what these figures are about."""
    recovery = {"rpo_minutes": RPO_MINUTES, "rto_minutes": RTO_MINUTES}
    return {
        **unwatched(tree),
        "monitoring": {},
        "backups": {"store": {"kind": "minio", "capacity": "5Gi"}, "staging": "5Gi"},
        "agreements": {"standard": {"recovery": recovery}},
    }
