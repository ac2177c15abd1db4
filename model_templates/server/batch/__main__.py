"""Predict the rows of files with one model, as one of several workers.

    python3 -m batch s3://data/claims.parquet s3://predictions/claims \\
        --release iris --variant v3 --version 3 --digest sha256:…

Exit code 42 says that another try would end the same; the last line of the log is then
why. Else the last line is one JSON object: the run's manifest without its lists.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from datetime import UTC, datetime
from typing import Any

from model_server.__main__ import quieten
from model_server.digest import mismatch
from model_server.slim import without_client

REFUSED = 42
"""Exit code of a worker that must not be started again."""


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 0 done, 42 refused, 1 worth another try."""
    args = arguments(argv)
    quieten()
    without_client()
    from .asked import Asked
    from .run import Run
    from .store import Refused

    model = {
        name: getattr(args, name)
        for name in ("release", "variant", "version", "digest")
    }
    output = args.output.rstrip("/")
    if args.run:
        output = f"{output}/{folder(args.run)}"
    asked = Asked(
        args.input.rstrip("/"),
        output,
        {**model, "image": os.environ.get("LAB_IMAGE", "")},
        args.shard,
        args.shards,
        args.part_rows,
    )
    try:
        run = Run(asked)
        found = run.finished()
        if found is None:
            found = run.work(predictor(args))
    except Refused as refusal:
        print(refusal, file=sys.stderr, flush=True)
        return REFUSED
    except OSError as error:
        print(f"{error}; it is tried again", file=sys.stderr, flush=True)
        return 1
    if found["rows"] == 0 and found["complete"]:
        said = f"{asked.input}: has no rows; nothing was predicted"
        print(said, file=sys.stderr, flush=True)
    print(
        json.dumps({k: v for k, v in found.items() if k not in ("files", "parts")}),
        flush=True,
    )
    return 0


def predictor(args: argparse.Namespace) -> Any:
    """Return the model, loaded and proven; Refused when it can't be."""
    from model_server.model import LabModel, load
    from model_server.refusal import first_line

    from .rows import Predictor
    from .store import Refused

    if problem := mismatch(args.model_dir, args.digest):
        raise Refused(problem)
    try:
        pyfunc = load(args.model_dir)
        model = LabModel(args.release, f"{args.release}-{args.variant}", pyfunc)
        metadata = pyfunc.metadata
        return Predictor(
            model, metadata.get_input_schema(), metadata.get_output_schema()
        )
    except Exception as error:
        raise Refused(
            f"{args.model_dir}: the model can't be loaded ({type(error).__name__}: "
            f"{first_line(error)}); is everything that it was trained with in the "
            "lab's image, in a version that can read it?"
        ) from error


def folder(job: str) -> str:
    """Return the folder of a scheduled run: its minute, or the Job's own name.

    A CronJob names its Jobs by the minutes from 1970 to when they were due.
    """
    due = re.search(r"-(\d{8})$", job)
    if not due:
        return job
    return datetime.fromtimestamp(int(due[1]) * 60, UTC).strftime("%Y-%m-%dT%H%MZ")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="batch", allow_abbrev=False)
    parser.add_argument("input", help="file or folder: s3://BUCKET/PATH")
    parser.add_argument("output", help="folder for this run alone: s3://BUCKET/PATH")
    parser.add_argument("--release", required=True)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--version", required=True, type=int)
    parser.add_argument("--digest", required=True, help="sha256:… of the model")
    parser.add_argument("--model_dir", default="/mnt/models")
    parser.add_argument("--run", help="Job whose folder in `output` it is")
    parser.add_argument(
        "--shard", type=int, default=int(os.environ.get("JOB_COMPLETION_INDEX", "0"))
    )
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--part_rows", type=int, default=65_536)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
