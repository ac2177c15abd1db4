"""Train one of the demo's models and register it.

    python3 -m training --dataset breast_cancer --grid first --name breast-cancer

The last line it prints is one JSON object: what a release of the version says.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from training.jobs import run
from training.problems import PROBLEMS

GRIDS = sorted({grid for problem in PROBLEMS.values() for grid in problem.grids})


def main() -> int:
    """Return the exit code; what MLflow raises goes through, for the pod's log."""
    parser = argparse.ArgumentParser(prog="training", allow_abbrev=False)
    parser.add_argument("--dataset", required=True, choices=sorted(PROBLEMS))
    parser.add_argument("--grid", default="first", choices=GRIDS)
    parser.add_argument(
        "--name", help="registered model; the data set's name unless said"
    )
    args = parser.parse_args()
    missing = [
        name
        for name in ("MLFLOW_TRACKING_URI", "LAB_ARTIFACT_BUCKET")
        if not os.environ.get(name)
    ]
    if missing:
        print(f"training: set {' and '.join(missing)}", file=sys.stderr)
        return 2
    name = args.name or args.dataset.replace("_", "-")
    found = run(args.dataset, args.grid, name, os.environ["LAB_ARTIFACT_BUCKET"])
    print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
