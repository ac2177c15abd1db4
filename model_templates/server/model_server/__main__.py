"""Serve one model: prove its digest, load it, answer until told to stop.

    python3 -m model_server --model_name iris --served_by iris-v1 --digest sha256:…

Whatever stops it is said in one sentence, as the last line of the log: KServe shows
that line in the InferenceService's status.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import traceback
from time import perf_counter

from .digest import mismatch
from .slim import without_client

log = logging.getLogger("model_server")


def main() -> int:
    """Return the exit code: 0 after SIGTERM, 1 when the model can't be served."""
    started = perf_counter()
    args = arguments()
    quieten()
    if problem := mismatch(args.model_dir, args.digest):
        log.error("%s", problem)
        return 1

    # Collecting garbage while 2,000 modules are imported costs a fifth of the time.
    gc.disable()
    without_client()
    from .model import LabModel, first_line, load
    from .server import LabServer

    try:
        model = LabModel(args.model_name, args.served_by, load(args.model_dir))
        model.warm_up(args.model_dir)
    except Exception as error:
        traceback.print_exc()
        log.error(
            "%s: the model can't be loaded (%s: %s); is everything that it was trained "
            "with in the lab's image, in a version that can read it?",
            args.model_dir,
            type(error).__name__,
            first_line(error),
        )
        return 1
    gc.freeze()
    gc.enable()
    log.info("%s: ready %.1f s after start", args.served_by, perf_counter() - started)
    LabServer(model, args.http_port).run()
    return 0


def arguments() -> argparse.Namespace:
    """Read the command line; KServe's runtime fills it in from the InferenceService."""
    parser = argparse.ArgumentParser(prog="model_server", allow_abbrev=False)
    parser.add_argument("--model_name", required=True, help="name in the URL")
    parser.add_argument("--served_by", required=True, help="name in every answer")
    parser.add_argument("--model_dir", default="/mnt/models")
    parser.add_argument("--digest", required=True, help="sha256:… of the folder")
    parser.add_argument("--http_port", type=int, default=8080)
    return parser.parse_args()


def quieten() -> None:
    """Set what the libraries read when they are imported."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    logging.basicConfig(
        format="%(asctime)s %(name)s: %(message)s",
        level=logging.INFO,
        stream=sys.stderr,
    )
    for chatty in ("kserve", "uvicorn", "httpx", "mlflow"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
