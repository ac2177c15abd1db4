"""What a lab costs for a month, by what it reserves. Pure.

The pack's budget rule, `lab plan` and `lab costs` all reckon here, so that they agree.
A month has 730 hours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .cron import runs
from .lab import Lab, Resource
from .prices import Book, BookError, rates, read_book

__all__ = [
    "HOURS",
    "Book",
    "BookError",
    "Line",
    "book_of",
    "calls",
    "lines",
    "priced",
    "quantity",
    "rates",
    "rates_of",
    "read_book",
    "total",
]

HOURS = 730
"""Hours of a month: the twelfth part of a year."""
RUN_MINUTES = 15
"""How long a run of a CronJob is taken to last."""
GIB = 2**30
RELEASE = "labfactory.io/release"
"""Label of the objects that belong to a release."""
BOOK, CURRENCY = "on-prem", "EUR"
"""Book and currency of a lab whose settings name none."""
GPU = "nvidia.com/gpu"

_UNITS = {
    **{"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15},
    **{f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTP", 1)},
}


@dataclass(frozen=True)
class Line:
    """What one object costs."""

    room: str
    """Name of the component that it belongs to."""
    release: str | None
    what: str
    """The object, and what it was counted by."""
    monthly: float
    """Cost of a month, in the book's currency."""


def total(found: Iterable[Line]) -> float:
    """Cost of a month of all lines."""
    return sum((line.monthly for line in found), 0.0)


def book_of(lab: Lab) -> Book:
    """The lab's price book. Raises BookError, also when its currency is another."""
    costs = lab.group("costs")
    book = read_book(str(costs.get("book") or BOOK))
    currency = costs.get("currency") or CURRENCY
    if book.currency != currency:
        raise BookError(
            f"the price book {book.name!r} is in {book.currency}, and the lab counts "
            f"in {currency}; set `costs.currency` to {book.currency}, or name another "
            "book"
        )
    return book


def rates_of(lab: Lab) -> dict[str, float]:
    """What things cost in this lab. Raises BookError."""
    return rates(book_of(lab), lab.group("costs").get("prices") or {})


def priced(lab: Lab) -> tuple[Line, ...]:
    """What the lab's objects cost, dearest first, by its own prices. Raises BookError.

    What is paid by the call is not among them: see `calls`.
    """
    return lines(lab, rates_of(lab))


def lines(lab: Lab, rates: Mapping[str, float]) -> tuple[Line, ...]:
    """What the lab's objects cost, dearest first.

    Raises ValueError for a quantity or a schedule that Kubernetes would not take.
    """
    found = (_line(resource, rates) for resource in lab.resources)
    return tuple(sorted((x for x in found if x), key=lambda x: (-x.monthly, x.what)))


def calls(lab: Lab) -> dict[str, float]:
    """Price of a call of each external endpoint, by RELEASE/VARIANT."""
    found = {}
    for release, config in lab.group("releases").items():
        for variant, settings in (config.get("variants") or {}).items():
            if external := settings.get("external"):
                name = f"{release}/{variant}"
                found[name] = float(external.get("cost_per_call") or 0)
    return found


def quantity(value: Any) -> float:
    """A quantity of Kubernetes as a number: cores of `250m`, bytes of `512Mi`.

    Raises ValueError for anything else.
    """
    if isinstance(value, int | float):
        return float(value)
    found = re.fullmatch(r"(\d+(?:\.\d+)?(?:[eE]\d+)?)([a-zA-Z]*)", str(value).strip())
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"{value!r} is no quantity; write such as 250m or 512Mi")
    return float(found[1]) * _UNITS[found[2]]


def _line(resource: Resource, rates: Mapping[str, float]) -> Line | None:
    if not resource.type.startswith("kubernetes:"):
        price = rates.get(resource.type)
        return None if price is None else _named(resource, "for a month", price)
    match resource.kind:
        case "Deployment":
            return _pods(resource, _count(resource.spec, "replicas"), rates)
        case "StatefulSet":
            claims = resource.spec.get("volumeClaimTemplates") or ()
            size = sum(_size(claim.get("spec") or {}) for claim in claims)
            count = _count(resource.spec, "replicas")
            return _pods(resource, count, rates, size=size)
        case "CronJob":
            return _batch(resource, rates)
        case "PersistentVolumeClaim":
            size = _size(resource.spec)
            price = size * rates["gib_month"]
            return _named(resource, f"{size:.4g} GiB", price)
        case "InferenceService":
            predictor = resource.spec.get("predictor") or {}
            model = predictor.get("model")
            containers = [*([model] if model else ()), *_listed(predictor)]
            spec = {"containers": containers}
            return _pods(resource, _count(predictor, "minReplicas"), rates, pod=spec)
    return None


def _pods(
    resource: Resource,
    count: float,
    rates: Mapping[str, float],
    *,
    pod: Mapping[str, Any] | None = None,
    size: float = 0,
) -> Line | None:
    """A workload whose pods run all the time, each with volumes of `size` GiB."""
    template = (resource.spec.get("template") or {}).get("spec") or {}
    asked = _asked(template if pod is None else pod)
    price = count * (_hour(asked, rates) * HOURS + size * rates["gib_month"])
    volumes = f", {size:.4g} GiB of volumes" if size else ""
    return _named(resource, f"{count:.4g} x ({_told(asked)}{volumes})", price)


def _batch(resource: Resource, rates: Mapping[str, float]) -> Line | None:
    """A CronJob: its runs do not overlap, so that they fill a month at most."""
    if resource.spec.get("suspend"):
        return None
    often = runs(str(resource.spec["schedule"]))
    job = (resource.spec.get("jobTemplate") or {}).get("spec") or {}
    asked = _asked((job.get("template") or {}).get("spec") or {})
    workers = _count(job, "parallelism")
    hours = min(often * RUN_MINUTES / 60, HOURS)
    told = (
        f"{often:.4g} runs a month, each taken to last {RUN_MINUTES} min, of "
        f"{workers:.4g} x ({_told(asked)})"
    )
    return _named(resource, told, workers * hours * _hour(asked, rates))


def _named(resource: Resource, counted: str, monthly: float) -> Line | None:
    if not monthly:
        return None
    name = resource.metadata.get("name") or resource.name
    release = (resource.metadata.get("labels") or {}).get(RELEASE)
    what = f"{resource.kind}/{name}: {counted}"
    return Line(resource.parent or "lab", release, what, monthly)


def _asked(pod: Mapping[str, Any]) -> dict[str, float]:
    """Cores, GiB and GPUs that a pod reserves as long as it runs."""
    found = dict.fromkeys(("cpu", "memory", GPU), 0.0)
    for container in _listed(pod):
        resources = container.get("resources") or {}
        # Kubernetes reserves what is allowed where nothing is asked for.
        asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
        for name in found:
            found[name] += quantity(asked.get(name) or 0)
    found["memory"] /= GIB
    return found


def _listed(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Containers that run as long as the pod, with those that start before others."""
    yield from pod.get("containers") or ()
    for container in pod.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            yield container


def _hour(asked: Mapping[str, float], rates: Mapping[str, float]) -> float:
    return (
        asked["cpu"] * rates["cpu_hour"]
        + asked["memory"] * rates["gib_hour"]
        + asked[GPU] * rates["gpu_hour"]
    )


def _told(asked: Mapping[str, float]) -> str:
    gpus = f", {asked[GPU]:.4g} GPU" if asked[GPU] else ""
    return f"{asked['cpu']:.4g} cores, {asked['memory']:.4g} GiB{gpus}"


def _count(spec: Mapping[str, Any], key: str) -> float:
    found = spec.get(key)
    return 1.0 if found is None else float(found)


def _size(claim: Mapping[str, Any]) -> float:
    """GiB that a volume claim asks for."""
    requests = (claim.get("resources") or {}).get("requests") or {}
    return quantity(requests.get("storage") or 0) / GIB
