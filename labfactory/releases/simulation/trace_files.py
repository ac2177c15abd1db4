"""Traces as files: JSON lines, one look of the guard in each.

    {"time": 1767225605, "seconds": 5, "ready": {"v1": true, "v2": true}, "variants":
    {"v2": {"requests": 40, "errors": 1, "latency": {"0.1": 30, "inf": 9}}}}

What a look does not say is nothing: `{"time": …, "seconds": 0}` is a gap.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from labfactory.errors import LabError
from labfactory.releases.decisions.observed import (
    INFINITE,
    Agreement,
    Counts,
    Drift,
    Observed,
)

Number = Annotated[int, Field(ge=0, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
MOST = 20
"""Problems of a file that are told; of more, how many there are."""


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Counts(_Written):
    requests: Number = 0
    errors: Number = 0
    rejects: Number = 0
    latency: Mapping[str, Number] = {}
    labelled: Number = 0
    wrong: Number = 0

    @model_validator(mode="after")
    def _parts_are_within_the_whole(self) -> Self:
        if max(self.errors, self.rejects) > self.requests:
            raise ValueError("more errors or rejects than requests")
        if self.wrong > self.labelled:
            raise ValueError("more wrong predictions than labelled ones")
        try:
            bounds = [float(bound) for bound in self.latency]
        except ValueError:
            raise ValueError("latency has a bound that is no number") from None
        if bounds and (bounds[-1] != INFINITE or bounds != sorted({*bounds})):
            raise ValueError("latency's bounds do not grow up to `inf`")
        return self

    def value(self) -> Counts:
        told = {float(bound): count for bound, count in self.latency.items()}
        return Counts(**{**self.model_dump(), "latency": told})


class _Drift(_Written):
    column: str
    expected: tuple[Share, ...]
    seen: tuple[Number, ...]

    @model_validator(mode="after")
    def _bins_match(self) -> Self:
        if len(self.expected) != len(self.seen):
            raise ValueError("expected and seen have different numbers of bins")
        return self


class _Agreement(_Written):
    compared: Number
    agreed: Number

    @model_validator(mode="after")
    def _agreed_are_compared(self) -> Self:
        if self.agreed > self.compared:
            raise ValueError("more agreed than compared")
        return self


class _Look(_Written):
    time: Annotated[float, Field(allow_inf_nan=False)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    variants: Mapping[str, _Counts] = {}
    ready: Mapping[str, bool] = {}
    drift: Mapping[str, tuple[_Drift, ...]] = {}
    agreement: Mapping[str, _Agreement] = {}
    trouble: str | None = None

    def value(self) -> Observed:
        return Observed(
            time=self.time,
            seconds=self.seconds,
            counts={name: found.value() for name, found in self.variants.items()},
            ready=self.ready,
            drift={
                name: tuple(Drift(**column.model_dump()) for column in columns)
                for name, columns in self.drift.items()
            },
            agreement={
                name: Agreement(**found.model_dump())
                for name, found in self.agreement.items()
            },
            trouble=self.trouble,
        )


def write(file: Path, looks: Iterable[Observed]) -> None:
    """Write a trace that `read` takes."""
    file.write_text("".join(f"{line(look)}\n" for look in looks))


def line(look: Observed) -> str:
    """One look as a line of a trace's file."""
    variants = {}
    for name, counts in look.counts.items():
        told = {key: value for key, value in asdict(counts).items() if value}
        if counts.latency:
            told["latency"] = {str(bound): n for bound, n in counts.latency.items()}
        variants[name] = told
    found = {
        "variants": variants,
        "ready": dict(look.ready),
        "drift": {
            name: [asdict(column) for column in columns]
            for name, columns in look.drift.items()
        },
        "agreement": {name: asdict(each) for name, each in look.agreement.items()},
        "trouble": look.trouble,
    }
    told = {"time": look.time, "seconds": look.seconds}
    return json.dumps({**told, **{key: value for key, value in found.items() if value}})


def read(file: Path) -> list[Observed]:
    """Read a trace; raises LabError with everything that is wrong in the file."""
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(
            f"{file}: it can't be read as text ({type(error).__name__}); name a "
            "built-in trace, or a file of JSON lines"
        ) from None
    looks, problems = [], []
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            looks.append(_Look.model_validate_json(text).value())
        except ValidationError as error:
            problems += [f"line {number}: {told}" for told in _problems(error)]
    if not looks and not problems:
        problems = ["it has no look"]
    if problems:
        told = problems[:MOST]
        if len(problems) > MOST:
            told.append(f"and {len(problems) - MOST} more")
        raise LabError(
            f"{file}: it is no trace; correct it:\n"
            + "\n".join(f"  {problem}" for problem in told)
        )
    return looks


def _problems(error: ValidationError) -> Iterable[str]:
    for found in error.errors(include_url=False, include_input=False):
        place = ".".join(map(str, found["loc"]))
        said = found["msg"].removeprefix("Value error, ")
        yield f"{place}: {said}" if place else said
