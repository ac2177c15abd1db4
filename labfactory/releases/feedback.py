"""`lab feedback`: post the right answers to what a release has predicted."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labfactory.errors import LabError
from labfactory.releases.comparison.compare_quality import number, read_labels
from model_templates.routes import host
from stacks.raw import near_miss
from stacks.schema import LabConfig

if TYPE_CHECKING:
    import httpx

SECRET = "feedback"
"""Secret of the lab with the token."""
HOST = host("feedback", "{lab}")
"""Host name of the service in a lab."""
AT_ONCE = 2_000
"""Labels of one request."""
SHOWN = 10
"""Refusals that are shown; the others are counted."""
PATIENCE = 30.0
"""Seconds in which a service that is away, or busy with its start, is asked again."""


@dataclass
class Told:
    """What the lab has said of the labels in a file."""

    taken: int = 0
    duplicates: int = 0
    unknown: int = 0
    """Those of the taken whose prediction has not been seen."""
    refused: list[str] = field(default_factory=list)
    """A sentence for each."""


def post(lab: str, release: str, path: str) -> Told:
    """Post the labels of a CSV file, print what became of them and return it.

    The file has the columns request_id, label and, if need be, row. Safe to repeat: a
    label that came before is a duplicate. Raises LabError.
    """
    from labfactory import labs
    from labfactory.stack import Stack

    labels = [
        {"id": id_, "row": row, "label": value(label)}
        for (id_, row), label in read_labels(path).items()
    ]
    if not labels:
        raise LabError(f"{path}: has no labels; write a line for each")
    stack = Stack(lab)
    settings = stack.settings
    check(settings, release)
    token = _token(settings)
    told = Told()
    with _client(labs.outputs(stack)["gateway_url"], settings.name, token) as http:
        for chunk in _chunks(labels):
            _add(told, _sent(http, release, chunk, told.taken), chunk)
    for line in described(told, release):
        print(line)
    return told


def check(settings: LabConfig, release: str) -> None:
    """Raise LabError unless a lab with `settings` takes labels for `release`."""
    config = settings.releases.get(release)
    if config is None:
        names = sorted(settings.releases)
        raise LabError(
            f"release {release!r}: the lab has no such release (it has: "
            f"{', '.join(names) or 'none'}){near_miss(release, names)}"
        )
    if config.guard.quality is None:
        raise LabError(
            f"release {release!r}: no rule of its guard is about labels; write "
            "`guard: {quality: {}}` into its settings and run `lab up`"
        )


def value(text: str) -> float | int | str:
    """The label that a cell of a CSV file is: a number where it spells one."""
    if number(text) is None:
        return text
    try:
        return int(text)
    except ValueError:
        return float(text)


def described(told: Told, release: str) -> Iterator[str]:
    """What a person wants to know of it."""
    yield (
        f"{release}: {told.taken:,} labels taken, {told.duplicates:,} had come before, "
        f"{len(told.refused):,} refused"
    )
    if told.unknown:
        yield (
            f"  {told.unknown:,} of them are about requests that were not seen yet; "
            "without a logged prediction within ten minutes they count for nothing"
        )
    yield from (f"  {line}" for line in told.refused[:SHOWN])
    if len(told.refused) > SHOWN:
        yield f"  and {len(told.refused) - SHOWN:,} more"


def _chunks(labels: Sequence[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    for start in range(0, len(labels), AT_ONCE):
        yield labels[start : start + AT_ONCE]


def _add(told: Told, answer: Any, chunk: Sequence[dict[str, Any]]) -> None:
    told.taken += answer["taken"]
    told.duplicates += answer["duplicates"]
    told.unknown += answer["unknown"]
    for each in answer["refused"]:
        label = chunk[each["index"]]
        told.refused.append(f"{label['id']}, row {label['row']}: {each['reason']}")


def _sent(
    http: httpx.Client, release: str, chunk: Sequence[dict[str, Any]], before: int
) -> Any:
    """The service's answer to labels, asked again while it is away."""
    import httpx
    from tenacity import (
        Retrying,
        retry_if_exception_type,
        retry_if_result,
        stop_after_delay,
        wait_random_exponential,
    )

    body = json.dumps({"labels": chunk}, ensure_ascii=False).encode()
    again = Retrying(
        retry=retry_if_exception_type(httpx.TransportError)
        | retry_if_result(lambda answer: answer.status_code == 503),
        stop=stop_after_delay(PATIENCE),
        wait=wait_random_exponential(0.3, max=5),
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )
    where = f"lab's service of labels at {http.base_url}"
    repeat = f"{before:,} labels were taken so far; the same command goes on from there"
    try:
        answer = again(http.post, f"/v1/feedback/{release}", content=body)
    except httpx.TransportError as error:
        raise LabError(
            f"{where}: does not answer ({type(error).__name__}); does the lab run? "
            f"{repeat}"
        ) from None
    try:
        found = answer.json()
    except ValueError:
        found = {}
    if answer.status_code == 200:
        return found
    said = found.get("error") or "it says nothing that can be read"
    if answer.status_code == 404 and not found:
        said = "there is none; `lab up` makes it"
    raise LabError(f"{where}: {said} ({answer.status_code}); {repeat}")


def _client(url: str, lab: str, token: str) -> httpx.Client:
    import httpx

    return httpx.Client(
        base_url=url,
        headers={
            "Host": HOST.format(lab=lab),
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
        },
        timeout=60,
        trust_env=False,  # a proxy cannot reach the lab
    )


def _token(settings: LabConfig) -> str:
    import httpx2
    from lightkube.resources.core_v1 import Secret

    from labfactory import environment

    where = f"lab {settings.name!r}"
    cluster = environment.cluster(settings.cluster.context, settings.name)
    try:
        with closing(cluster):
            secret = cluster.get(Secret, SECRET)
    except httpx2.HTTPStatusError as error:
        raise LabError(
            f"{where}: its Secret {SECRET!r} can't be read "
            f"({error.response.status_code}); `lab up` makes it once the lab has a "
            "guard and a release with `quality`"
        ) from None
    except httpx2.HTTPError as error:
        raise LabError(
            f"{where}: its cluster does not answer ({type(error).__name__}); "
            "`lab up` starts an embedded one"
        ) from None
    return base64.b64decode(secret.data["token"]).decode()
