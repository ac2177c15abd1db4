"""Which runs may become a release: those that say from what and how they were made."""

from __future__ import annotations

from collections.abc import Collection

from labfactory.releases.models.run import Run

ENVIRONMENT = "environment.txt"
"""Artifact of a run: every installed package with its version, one per line."""

DATA = (
    'with mlflow.start_run(run_id="{run}"): '
    'mlflow.log_input(mlflow.data.from_pandas(frame, name="NAME"), "training")'
)
PACKAGES = (
    'import importlib.metadata, mlflow; mlflow.MlflowClient().log_text("{run}", '
    '"\\n".join(f"{{d.name}}=={{d.version}}" '
    'for d in importlib.metadata.distributions()), "environment.txt")'
)
CODE = (
    'import mlflow, subprocess; mlflow.MlflowClient().set_tag("{run}", "code", '
    'subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip())'
)


def problems(run: Run, files: Collection[str]) -> list[str]:
    """Return what a release needs and the run lacks, each with the line that logs it.

    `files` are the names of the run's artifacts. Each line works on a run that has
    ended, too; `frame` in it is the data that the model learned from.
    """
    missing = []
    if not run.data:
        missing.append(("a data digest (a dataset input, or the tag 'data')", DATA))
    if ENVIRONMENT not in files:
        missing.append((f"its environment (the artifact {ENVIRONMENT!r})", PACKAGES))
    if not run.code:
        missing.append(
            ("a code version (the tag 'mlflow.source.git.commit' or 'code')", CODE)
        )
    return [
        f"run {run.id} lacks {what}; log it: {line.format(run=run.id)}"
        for what, line in missing
    ]
