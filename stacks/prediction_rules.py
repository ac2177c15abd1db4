"""Rules of where predictions go: logs of shadows, and batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from stacks.raw import (
    Path,
    Problem,
    Rule,
    TemplateFacts,
    Tree,
    all_variants,
    bucket_of,
    buckets,
    mapping,
    releases,
    shown,
    variants,
)

KEPT = ("logs", "labels")
"""Folders of `predictions.bucket` that are not for batches."""
_ADD = "add `predictions: {bucket: BUCKET}` to the lab"


def predictions_have_a_bucket_of_their_own(lab: Tree) -> Iterator[Problem]:
    """Model servers may write there, so nothing that is served may lie in it."""
    bucket = mapping(lab.get("predictions")).get("bucket")
    if isinstance(bucket, str) and bucket == _tracking(lab):
        yield (
            ("predictions", "bucket"),
            "is the tracking server's bucket, where the models lie; choose another one",
        )


def shadows_have_somewhere_to_log(lab: Tree) -> Iterator[Problem]:
    """A shadow is good for nothing unless its answers are kept."""
    for path, variant in all_variants(lab):
        if variant.get("role") == "shadow" and lab.get("predictions") is None:
            yield (
                (*path, "role"),
                f"is shadow, and the lab keeps no predictions; {_ADD}",
            )


def ways_to_serve_are_said_once(lab: Tree) -> Iterator[Problem]:
    """`serve` is a set."""
    for path, release in releases(lab):
        ways = _ways(release)
        if len({str(way) for way in ways}) < len(ways):
            yield (*path, "serve"), "says the same twice; keep one of the two"


def batches_have_a_model_and_a_bucket(lab: Tree) -> Iterator[Problem]:
    """Batches run the stable model and write where predictions are kept."""
    for path, release in releases(lab):
        if "batch" not in _ways(release):
            continue
        if lab.get("predictions") is None:
            yield (
                (*path, "serve"),
                f"says batch, and the lab keeps no predictions; {_ADD}",
            )
        for place, variant in variants(path, release):
            external = variant.get("external") is not None
            if variant.get("role") == "stable" and external:
                yield (
                    (*path, "serve"),
                    f"says batch, and the stable variant {shown(place[-1])} is an "
                    "external endpoint; remove batch, or let a model be stable",
                )


def batch_settings_are_for_batches(lab: Tree) -> Iterator[Problem]:
    """Nothing is scheduled that the release does not do."""
    for path, release in releases(lab):
        if release.get("batch") is not None and "batch" not in _ways(release):
            yield (
                (*path, "batch"),
                "is for releases that serve batches; add `serve: [api, batch]` or "
                "remove it",
            )


def batches_read_what_they_may(lab: Tree) -> Iterator[Problem]:
    """`batch.input` lies in a bucket of the lab that is not the tracking server's."""
    for path, batch in _batches(lab):
        bucket, known = bucket_of(batch.get("input")), buckets(lab)
        if bucket is None or not known:
            continue
        if bucket == _tracking(lab):
            yield (
                (*path, "input"),
                "is in the tracking server's bucket, which batches may not read; put "
                "the rows into another one",
            )
        elif bucket not in known:
            yield (
                (*path, "input"),
                f"is in a bucket that the lab does not have (it has: "
                f"{', '.join(known)}); add the bucket to `storage.buckets` or choose "
                "one of these",
            )


def batches_write_among_the_predictions(lab: Tree) -> Iterator[Problem]:
    """`batch.output` lies in `predictions.bucket`, and not where logs are."""
    wanted = mapping(lab.get("predictions")).get("bucket")
    for path, batch in _batches(lab):
        bucket = bucket_of(batch.get("output"))
        if bucket is None or not isinstance(wanted, str):
            continue
        if bucket != wanted:
            yield (
                (*path, "output"),
                "is not in the bucket `predictions.bucket`, the only one that batches "
                "may write to; choose a folder in it",
            )
        elif any(_within(batch["output"], f"s3://{bucket}/{each}") for each in KEPT):
            yield (
                (*path, "output"),
                "is where the lab keeps prediction logs and labels; choose a folder "
                f"outside {' and '.join(f'{each}/' for each in KEPT)}",
            )


def batches_do_not_meet(lab: Tree) -> Iterator[Problem]:
    """No batch reads what it writes, or writes where another one does."""
    first: list[tuple[str, Path]] = []
    for path, batch in _batches(lab):
        rows, output = batch.get("input"), batch.get("output")
        if not isinstance(output, str):
            continue
        if isinstance(rows, str) and (_within(rows, output) or _within(output, rows)):
            yield (
                (*path, "output"),
                "overlaps with `input`, so that a batch would read what it wrote; "
                "choose two folders apart",
            )
        for other, place in first:
            if _within(output, other) or _within(other, output):
                yield (
                    (*path, "output"),
                    f"is where release {shown(place[1])} writes too; choose a folder "
                    "for each",
                )
        first.append((output, path))


def batches_are_run_by_our_server(
    lab: Tree,
    templates: Collection[str],
    facts: Callable[[str], TemplateFacts | None],
) -> Iterator[Problem]:
    """KServe's own servers have no program that reads files."""
    for path, release in releases(lab):
        template = release.get("template")
        if not isinstance(template, str) or template not in templates:
            continue
        known = facts(template) if "batch" in _ways(release) else None
        if known and known.kind != "server":
            yield (
                (*path, "serve"),
                f"says batch, which the template {template} cannot do (its server is "
                "KServe's own); remove batch or choose another template, such as "
                "mlflow",
            )


def _ways(release: Tree) -> list[object]:
    ways = release.get("serve")
    return list(ways) if isinstance(ways, list | tuple) else []


def _batches(lab: Tree) -> Iterator[tuple[Path, Tree]]:
    for path, release in releases(lab):
        yield (*path, "batch"), mapping(release.get("batch"))


def _tracking(lab: Tree) -> object:
    return mapping(lab.get("tracking")).get("bucket")


def _within(address: str, folder: str) -> bool:
    return address == folder or address.startswith(f"{folder}/")


RULES: tuple[Rule, ...] = (
    predictions_have_a_bucket_of_their_own,
    shadows_have_somewhere_to_log,
    ways_to_serve_are_said_once,
    batches_have_a_model_and_a_bucket,
    batch_settings_are_for_batches,
    batches_read_what_they_may,
    batches_write_among_the_predictions,
    batches_do_not_meet,
)
