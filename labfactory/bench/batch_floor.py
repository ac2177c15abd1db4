"""What a person would write: read a file, predict it, write the predictions.

    python batch_floor.py make FOLDER ROWS TIMES    a model and two files of rows
    python batch_floor.py predict FOLDER            predict the smaller file

Runs in an interpreter of its own, which has what is in the lab's image.
"""

from __future__ import annotations

import sys
from pathlib import Path

COLUMNS = 10
TRAINED_ON = 2_000
PIECE = 250_000


def make(folder: Path, rows: int, times: int) -> None:
    """Save a model, and Parquet files of `rows` and of `times` as many rows."""
    import mlflow.sklearn
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq
    from mlflow.models import infer_signature
    from sklearn.ensemble import HistGradientBoostingRegressor

    names = [f"x{n}" for n in range(COLUMNS)]
    random = np.random.default_rng(0)

    def frame(many: int) -> pd.DataFrame:
        return pd.DataFrame(random.normal(size=(many, COLUMNS)), columns=names)

    features = frame(TRAINED_ON)
    model = HistGradientBoostingRegressor(max_iter=50).fit(
        features, features.sum(axis=1)
    )
    mlflow.sklearn.save_model(
        model,
        folder / "model",
        signature=infer_signature(features, model.predict(features)),
        pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
    )
    schema = pa.Table.from_pandas(features).schema
    for name, many in (("small", rows), ("large", rows * times)):
        with pq.ParquetWriter(folder / f"{name}.parquet", schema) as writer:
            for _ in range(many // PIECE):
                writer.write_table(pa.Table.from_pandas(frame(PIECE), schema=schema))


def predict(folder: Path) -> None:
    """Predict the smaller file as a whole."""
    import mlflow.pyfunc
    import pandas as pd

    model = mlflow.pyfunc.load_model(str(folder / "model"))
    rows = pd.read_parquet(folder / "small.parquet")
    answers = pd.DataFrame({"prediction": model.predict(rows)})
    answers.to_parquet(folder / "floor.parquet")


if __name__ == "__main__":
    what, where, *numbers = sys.argv[1:]
    if what == "make":
        make(Path(where), *map(int, numbers))
    else:
        predict(Path(where))
