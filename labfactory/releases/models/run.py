"""What a training run says of itself, as MLflow's REST interface tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Dataset:
    """A data set that a run learned from or was judged by."""

    name: str
    digest: str
    context: str = ""
    """`training`, `validation`, or whatever the run calls its use."""


@dataclass(frozen=True)
class Run:
    """One run: who made what from what, when, and how good it was."""

    id: str
    name: str = ""
    user: str = ""
    start: datetime | None = None
    end: datetime | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[Dataset, ...] = ()

    @property
    def code(self) -> str:
        """Version of the code that ran; empty when the run does not say."""
        return self.tags.get("mlflow.source.git.commit") or self.tags.get("code", "")

    @property
    def data(self) -> tuple[Dataset, ...]:
        """What it learned from, with digests; empty when the run does not say."""
        found = tuple(dataset for dataset in self.datasets if dataset.digest)
        if not found and (digest := self.tags.get("data")):
            return (Dataset(self.tags.get("dataset", "data"), digest),)
        return found


def read(answer: Mapping[str, Any]) -> Run:
    """Return the run in the answer of `runs/get`."""
    run = answer["run"]
    info, data = run["info"], run.get("data", {})
    tags = _pairs(data.get("tags", ()))
    return Run(
        id=info["run_id"],
        name=info.get("run_name", ""),
        user=info.get("user_id") or tags.get("mlflow.user", ""),
        start=_time(info.get("start_time")),
        end=_time(info.get("end_time")),
        params=_pairs(data.get("params", ())),
        metrics={
            name: float(value)
            for name, value in _pairs(data.get("metrics", ())).items()
        },
        tags=tags,
        datasets=tuple(
            Dataset(
                one["dataset"].get("name", ""),
                one["dataset"].get("digest", ""),
                _pairs(one.get("tags", ())).get("mlflow.data.context", ""),
            )
            for one in run.get("inputs", {}).get("dataset_inputs", ())
        ),
    )


def _pairs(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {entry["key"]: entry.get("value", "") for entry in entries}


def _time(milliseconds: int | str | None) -> datetime | None:
    if not milliseconds:
        return None
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
