"""`lab batch`: predict files with a release's model, now."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from labfactory import labs
from labfactory.errors import LabError
from labfactory.jobs import Jobs
from labfactory.progress import Progress
from labfactory.stack import Stack
from model_templates.batch import batch_job
from stacks.prediction_rules import KEPT
from stacks.raw import near_miss
from stacks.schema import LabConfig, ReleaseConfig
from stacks.values import ObjectAddress

SAID_EVERY_SECONDS = 8.0
MOST_WORKERS = 64
_ADDRESS: TypeAdapter[str] = TypeAdapter(ObjectAddress)


def run(
    lab: str,
    release: str,
    input: str,
    output: str,
    *,
    variant: str | None = None,
    parallelism: int = 1,
    detach: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any] | None:
    """Predict the rows of `input` into the folder `output`; print what became of them.

    Both are `s3://BUCKET/PATH`. Safe to repeat: it goes on where it was. With `detach`
    it is only started. Returns the run's summary; raises LabError.
    """
    progress = progress or Progress()
    stack = Stack(lab)
    settings = stack.settings
    input, output = input.rstrip("/"), output.rstrip("/")
    config, chosen = checked(settings, release, input, output, variant, parallelism)
    manifest = batch_job(
        release,
        config,
        chosen,
        input=input,
        output=output,
        parallelism=parallelism,
        image=labs.outputs(stack)["lab_image"],
        owner=settings.owner,
    )
    name = manifest["metadata"]["name"]
    jobs = Jobs(settings.cluster.context, settings.name)
    # A Job that is done looks again: what it finds done stays as it is.
    jobs.start(manifest, again=True)
    follow = f"`lab batch {release} {input} {output} --lab {lab}` follows it"
    if detach:
        progress.say(f"job {name!r} runs; {follow}")
        return None
    title = f"batch of {release}, variant {chosen}: {input}"
    try:
        with progress.step(title) as step:
            heard = Heard(progress)
            found = summary(jobs.follow(name, step, heard=heard), name)
            step.note = f"{found['predicted']:,} of {found['rows']:,} rows predicted"
    except KeyboardInterrupt:
        progress.say(f"job {name!r} goes on; {follow}")
        raise
    for line in described(found):
        progress.say(line)
    return found


def checked(
    settings: LabConfig,
    release: str,
    input: str,
    output: str,
    variant: str | None,
    parallelism: int,
) -> tuple[ReleaseConfig, str]:
    """Return the release and the variant to run; LabError says what is in the way."""
    if release not in settings.releases:
        names = sorted(settings.releases)
        raise LabError(
            f"release {release!r}: the lab has no such release (it has: "
            f"{', '.join(names) or 'none'}){near_miss(release, names)}"
        )
    config = settings.releases[release]
    if "batch" not in config.serve:
        raise LabError(
            f"release {release!r}: does not serve batches; write `serve: [api, batch]` "
            "into its settings and run `lab up`"
        )
    if not 1 <= parallelism <= MOST_WORKERS:
        raise LabError(f"--parallelism: must be 1 to {MOST_WORKERS}")
    _check_addresses(settings, input, output)
    chosen = variant or config.stable()
    if chosen not in config.variants:
        names = sorted(config.variants)
        raise LabError(
            f"release {release!r}: has no variant {chosen!r} (it has: "
            f"{', '.join(names)}){near_miss(chosen, names)}"
        )
    if config.variants[chosen].external:
        raise LabError(
            f"release {release!r}: variant {chosen!r} is somebody else's endpoint, "
            "which predicts no files; choose a variant with a model of the lab's own"
        )
    return config, chosen


def _check_addresses(settings: LabConfig, input: str, output: str) -> None:
    if settings.predictions is None:
        raise LabError(
            "predictions.bucket: is not set, so there is no place for predictions; set "
            "it to one of storage.buckets and run `lab up`"
        )
    for what, address in (("input", input), ("output", output)):
        try:
            _ADDRESS.validate_python(address)
        except ValidationError:
            raise LabError(
                f"{what} {address!r}: is no address in the store; write "
                "s3://BUCKET/PATH"
            ) from None
    readable = {*settings.storage.buckets} - {settings.tracking.bucket}
    if (bucket := urlsplit(input).netloc) not in readable:
        raise LabError(
            f"input {input}: is in a bucket that batches may not read (they may read: "
            f"{', '.join(sorted(readable))}){near_miss(bucket, sorted(readable))}"
        )
    place = f"s3://{settings.predictions.bucket}/"
    kept = tuple(f"{place}{folder}/" for folder in KEPT)
    if not output.startswith(place) or f"{output}/".startswith(kept):
        raise LabError(
            f"output {output}: predictions go to {place}FOLDER, where FOLDER is not "
            f"{' or '.join(KEPT)}; choose a folder there"
        )
    if f"{output}/".startswith(f"{input}/"):
        raise LabError(
            f"output {output}: is inside of the input; write predictions elsewhere"
        )


class Heard:
    """Repeats what a worker says, but not all of it."""

    def __init__(self, progress: Progress) -> None:
        """Repeat to `progress`."""
        self._progress = progress
        self._last, self._when = "", 0.0

    def __call__(self, line: str) -> None:
        """Hear a line that may be the same as before."""
        if line != self._last and time.monotonic() - self._when > SAID_EVERY_SECONDS:
            self._last, self._when = line, time.monotonic()
            self._progress.say(f"    {line}")


def summary(logs: Iterable[str], name: str) -> dict[str, Any]:
    """The summary of the worker that closed the run, out of the workers' logs."""
    for log in logs:
        last = log.strip().rpartition("\n")[2]
        if last.startswith("{") and (found := json.loads(last)).get("complete"):
            summed: dict[str, Any] = found
            return summed
    raise LabError(
        f"job {name!r}: is done, but none of its logs says how it ended; run the same "
        "command again, which repeats nothing"
    )


def described(found: dict[str, Any]) -> list[str]:
    """What a person wants to know of a run that is done."""
    lines = [f"  predictions: {found['output']}/part-*.parquet"]
    if rejected := found["rejected"]:
        reasons = ", ".join(f"{many:,} {reason}" for reason, many in rejected.items())
        lines.append(
            f"  rejected: {sum(rejected.values()):,} rows ({reasons}); each with its "
            f"reason in {found['output']}/rejects-*.jsonl"
        )
    if not found["rows"]:
        lines.append(f"  {found['input']} has no rows")
    lines.append(f"  counts, files and model: {found['output']}/manifest.json")
    return lines
