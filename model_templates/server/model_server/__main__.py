"""Serve one model: prove its digest, load it, answer until told to stop.

    python3 -m model_server --model_name iris --served_by iris-v1 --digest sha256:…
    python3 -m model_server --model_name iris --served_by iris-vendor --external

Whatever stops it is said in one sentence, as the last line of the log: KServe shows
that line in the InferenceService's status.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from .digest import CARD, REFERENCE, mismatch
from .slim import without_client

if TYPE_CHECKING:
    from .served import Served

log = logging.getLogger("model_server")


def main() -> int:
    """Return the exit code: 0 after SIGTERM, 1 when the model can't be served."""
    started = perf_counter()
    args = arguments()
    quieten()
    # Collecting garbage while 2,000 modules are imported costs a fifth of the time.
    gc.disable()
    served = endpoint(args) if args.external else artifact(args)
    if served is None:
        return 1
    gc.freeze()
    gc.enable()
    log.info("%s: ready %.1f s after start", args.served_by, perf_counter() - started)
    run(args, *served)
    return 0


def arguments() -> argparse.Namespace:
    """Read the command line; KServe's runtime fills it in from the InferenceService."""
    parser = argparse.ArgumentParser(prog="model_server", allow_abbrev=False)
    parser.add_argument("--model_name", required=True, help="name in the URL")
    parser.add_argument("--served_by", required=True, help="name in every answer")
    parser.add_argument("--model_dir", default="/mnt/models")
    parser.add_argument("--http_port", type=int, default=8080)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--digest", help="sha256:… of the folder")
    what.add_argument("--external", action="store_true", help="serve LAB_EXTERNAL")
    return parser.parse_args()


def artifact(args: argparse.Namespace) -> tuple[Served, dict[str, str]] | None:
    """Return the model in the folder and its digest; None, and why in the log."""
    if problem := mismatch(args.model_dir, args.digest):
        log.error("%s", problem)
        return None
    without_client()
    from .metrics import LOGGED
    from .model import LabModel, load, logged
    from .refusal import first_line

    try:
        pyfunc = load(args.model_dir)
        model = LabModel(args.model_name, args.served_by, pyfunc)
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
        return None
    if when := logged(pyfunc):
        LOGGED.labels(args.model_name, args.served_by).set(when.timestamp())
    return model, {"digest": args.digest}


def endpoint(args: argparse.Namespace) -> tuple[Served, dict[str, str]] | None:
    """Return the endpoint of LAB_EXTERNAL and its host; None, and why in the log."""
    without_client()
    from .endpoint_settings import Settings, SettingsError
    from .external import ExternalModel

    # The key is nobody else's business, not even a child process's.
    key = os.environ.pop("LAB_EXTERNAL_KEY", None)
    try:
        settings = Settings.of(os.environ.get("LAB_EXTERNAL", ""), key)
    except SettingsError as error:
        log.error("%s: %s", args.served_by, error)
        return None
    model = ExternalModel(args.model_name, args.served_by, settings)
    return model, {"external": model.endpoint.host}


def run(args: argparse.Namespace, model: Served, identity: dict[str, str]) -> None:
    """Serve until SIGTERM, then write what the log of predictions still holds."""
    from prometheus_client import REGISTRY

    from .bins import Bins
    from .log import PredictionLog
    from .server import LabServer

    folder = Path(args.model_dir)
    card = folder / CARD
    bins = Bins.of(folder / REFERENCE, args.model_name, args.served_by)
    if bins:
        REGISTRY.register(bins)
    predictions = PredictionLog.of(os.environ, args.model_name, args.served_by)
    server = LabServer(
        model,
        args.http_port,
        identity=identity,
        card=card.read_bytes() if card.is_file() else None,
        log=predictions,
        bins=bins,
    )
    # Once it has stopped, uvicorn raises the signal again, for whoever was there first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if predictions:
        predictions.start()
    try:
        server.run()
    finally:
        if predictions:
            predictions.close()


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
