"""A model behind FastAPI as one writes it in ten minutes: the floor of the server's.

Runs in a pod of the lab's image; nothing else of this package is there.
"""

from __future__ import annotations

from typing import Any

import mlflow.pyfunc
import pandas as pd
from fastapi import FastAPI, Request

app = FastAPI()
model = mlflow.pyfunc.load_model("/mnt/models")
columns = model.metadata.get_input_schema().input_names()


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    """Predict the rows in `instances`."""
    rows = (await request.json())["instances"]
    found = model.predict(pd.DataFrame(rows, columns=columns))
    return {"predictions": found.tolist()}
