"""What is learned: scikit-learn's own data sets, and the grids tried on them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

SEED = 20260101
"""Of every random choice, so that the same job learns the same model."""


@dataclass(frozen=True)
class Grid:
    """One kind of model and the settings of it that are tried."""

    make: Callable[..., Any]
    settings: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Problem:
    """A data set, what makes an answer good, and the grids to look for one."""

    load: Callable[[], tuple[pd.DataFrame, pd.Series]]
    score: str
    """scikit-learn's name of what cross-validation compares."""
    metrics: Mapping[str, Callable[[Any, Any], float]]
    grids: Mapping[str, Grid]
    slices: str
    """Column whose low, middle and high rows are judged apart, too."""
    purpose: str
    limits: str
    owner: str = "demo"


def data_digest(features: pd.DataFrame, target: pd.Series) -> str:
    """Return `sha256:<hex>` over names and values of a data set."""
    content = hashlib.sha256()
    content.update("\0".join([*features.columns, str(target.name)]).encode())
    content.update(np.ascontiguousarray(features.to_numpy("<f8")).tobytes())
    content.update("\0".join(map(str, target)).encode())
    return f"sha256:{content.hexdigest()}"


def _breast_cancer() -> tuple[pd.DataFrame, pd.Series]:
    found = datasets.load_breast_cancer(as_frame=True)
    names = dict(enumerate(found.target_names))
    return found.data, found.target.map(names).astype(object).rename("diagnosis")


def _diabetes() -> tuple[pd.DataFrame, pd.Series]:
    found = datasets.load_diabetes(as_frame=True)
    return found.data, found.target.rename("progression")


def _f1(truth: Any, predicted: Any) -> float:
    return float(f1_score(truth, predicted, average="macro"))


def _tree_classifier(**settings: Any) -> Any:
    return DecisionTreeClassifier(random_state=SEED, **settings)


def _tree_regressor(**settings: Any) -> Any:
    return DecisionTreeRegressor(random_state=SEED, **settings)


def _logistic(**settings: Any) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(**settings))


PROBLEMS: Mapping[str, Problem] = {
    "breast_cancer": Problem(
        load=_breast_cancer,
        score="accuracy",
        metrics={"accuracy": accuracy_score, "f1": _f1},
        grids={
            "first": Grid(
                _tree_classifier, ({"max_depth": 1}, {"max_depth": 2}, {"max_depth": 4})
            ),
            "better": Grid(_logistic, ({"C": 0.01}, {"C": 0.1}, {"C": 1.0})),
        },
        slices="mean radius",
        purpose="Show a release: tell malignant from benign tumours by 30 "
        "measurements of the cell nuclei in an image.",
        limits="An example, not for diagnosis. Learned from 426 of 569 samples of "
        "one hospital, from before 1996.",
    ),
    "diabetes": Problem(
        load=_diabetes,
        score="r2",
        metrics={
            "r2": r2_score,
            "mae": mean_absolute_error,
            "rmse": root_mean_squared_error,
        },
        grids={
            "first": Grid(
                _tree_regressor, ({"max_depth": 2}, {"max_depth": 3}, {"max_depth": 5})
            ),
            "better": Grid(Ridge, ({"alpha": 0.01}, {"alpha": 0.1}, {"alpha": 1.0})),
        },
        slices="bmi",
        purpose="Show a release: foretell how diabetes goes on within a year by ten "
        "values of a patient.",
        limits="An example, not for treatment. Learned from 331 of 442 patients; takes "
        "values that are centred and scaled as scikit-learn's data set has them.",
    ),
}
