"""The model card, and the way a version becomes a release."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from labfactory.errors import LabError
from labfactory.releases.models.candidate import admit, publish
from labfactory.releases.models.card import LONGEST, card, html
from labfactory.releases.models.contract import Column, Contract, Output, compare
from labfactory.releases.models.registry import ModelVersion, Registry
from labfactory.releases.models.run import Dataset, Run
from tests.harness import ROOT

GOLDEN = ROOT / "tests" / "golden" / "card.html"
FOUND = ModelVersion(
    "iris", 4, "r1", "s3://mlflow/1/models/m-1/artifacts", "sha256:" + "0" * 64
)
RUN = Run(
    "r1",
    name="calm-owl",
    user="ada",
    start=datetime(2026, 1, 1, 12, 0, tzinfo=UTC),
    end=datetime(2026, 1, 1, 12, 1, tzinfo=UTC),
    params={"C": "0.1", "seed": "7"},
    metrics={
        "accuracy": 0.95,
        "slices/petal short/accuracy": 0.9,
        "slices/petal short/rows": 50.0,
        "slices/petal long/accuracy": 1.0,
    },
    tags={"purpose": "Tell irises apart.", "code": "0123abc"},
    datasets=(Dataset("iris", "d1", "training"),),
)
CONTRACT = Contract(
    inputs=(
        Column(name="petal", type="double", min=0.1, max=6.9),
        Column(name="place", type="string", required=False, categories=("a", "b")),
    ),
    outputs=(Output(name="0", type="tensor(object, [-1])"),),
)
STABLE = CONTRACT.model_copy(
    update={"inputs": (Column(name="petal", type="long"), (CONTRACT.inputs or ())[1])}
)
INFLUENCE = {
    "method": "permutation importance",
    "features": {
        "place": {"mean": -0.01, "std": 0.0},
        "petal": {"mean": 0.5, "std": 0.1},
    },
}


def example(run: Run = RUN, **more: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "owner": "team-a",
        "influence": INFLUENCE,
        "environment": "mlflow==3.17.2\nscikit-learn==1.9.0\n",
        "stable": ("iris", "3"),
        "difference": compare(STABLE, CONTRACT),
    }
    return card(FOUND, run, CONTRACT, **{**settings, **more})


def test_the_page_is_the_one_reviewed() -> None:
    assert html(example()) == GOLDEN.read_text(encoding="utf-8")


class Page(HTMLParser):
    """Every element with its attributes, and whether all were closed."""

    VOID = frozenset({"meta", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_from_anywhere() -> None:
    page = Page(html(example()))

    assert page.open == []
    assert {tag for tag, _ in page.elements} & {"script", "img", "link", "a"} == set()
    attributes = {name for _, found in page.elements for name in found}
    assert attributes & {"src", "href", "style"} == set()


EVIL = "</pre><script>alert('1')</script>&\"$title"


def test_no_value_becomes_a_part_of_the_page() -> None:
    run = Run(
        EVIL,
        name=EVIL,
        user=EVIL,
        params={EVIL: EVIL},
        metrics={EVIL: 1.0, f"slices/{EVIL.replace('/', '')}/{EVIL}": 1.0},
        tags={"purpose": EVIL, "limits": EVIL, "owner": EVIL, "code": EVIL},
        datasets=(Dataset(EVIL, EVIL, EVIL),),
    )
    contract = Contract(
        inputs=(Column(name=EVIL, type=EVIL, categories=(EVIL,)),),
        outputs=(Output(name=EVIL, type=EVIL),),
    )
    evil = card(
        ModelVersion(EVIL, 1, EVIL, EVIL, EVIL),
        run,
        contract,
        owner=EVIL,
        influence={"method": EVIL, "features": {EVIL: {"mean": 1, "std": 0}}},
        environment=EVIL,
        stable=(EVIL, EVIL),
        difference=compare(Contract(inputs=()), contract),
    )

    page = Page(html(evil))

    plain = Page(html(example()))
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements}
    assert page.open == []


def test_a_card_says_that_nothing_was_said() -> None:
    found = example(Run("r1"), description="", difference=None, stable=None)

    assert (found["purpose"], found["limits"]) == ("none stated", "none stated")
    assert found["owner"] == "team-a"
    assert "Difference to the stable" not in html(found)


def test_the_run_s_own_words_come_before_those_of_the_registry() -> None:
    run = Run("r1", tags={"owner": "team-b", "limits": "small irises only"})

    found = example(run, description="Irises.")

    assert found["owner"] == "team-b"
    assert found["purpose"] == "Irises."
    assert found["limits"] == "small irises only"


def test_metrics_per_slice_are_apart_from_those_of_the_whole() -> None:
    found = example()

    assert found["metrics"] == {"accuracy": 0.95}
    assert found["slices"] == {
        "petal long": {"accuracy": 1.0},
        "petal short": {"accuracy": 0.9, "rows": 50.0},
    }


def test_the_page_is_the_same_after_a_way_through_json() -> None:
    run = Run("r1", metrics={"loss": float("nan"), "accuracy": 1.0})
    found = example(run)

    again = json.loads(json.dumps(found, allow_nan=False))

    assert html(again) == html(found)


def test_a_very_wide_model_has_a_page_that_can_be_read() -> None:
    columns = tuple(Column(name=f"c{i}", type="double") for i in range(5000))
    wide = card(FOUND, RUN, Contract(inputs=columns), owner="team-a")

    page = html(wide)

    assert f"and {5000 - LONGEST} more, in card.json" in page
    assert len(page) < 1 << 20


@pytest.mark.parametrize(
    "influence", [{"features": []}, {"features": {"a": {}}}, {"x": 1}]
)
def test_an_influence_file_of_another_form_is_refused(influence: Any) -> None:
    with pytest.raises(LabError, match=r"influence\.json: it must be"):
        example(influence=influence)


def signature(type_: str) -> str:
    inputs = json.dumps([{"name": "petal", "type": type_, "required": True}])
    return f"signature:\n  inputs: '{inputs}'\n  outputs: null\n"


class Mlflow:
    """Two versions of a model with their runs and their store, as MLflow tells them."""

    def __init__(self) -> None:
        self.store = {
            "1/models/m-3/artifacts/MLmodel": signature("double").encode(),
            "1/models/m-4/artifacts/MLmodel": signature("string").encode(),
        }
        self.runs = {
            "r3": {"environment.txt": b"mlflow==3\n"},
            "r4": {"environment.txt": b"mlflow==3\n"},
        }
        self.tags = {"data": "sha256:12", "code": "abc"}
        self.run_of = {"3": "r3", "4": "r4"}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path, query = request.url.path, request.url.params
        name = path.rpartition("/")[2]
        if "/mlflow-artifacts/" in path:
            return self.stored(request, path.partition("-artifacts/artifacts")[2])
        match path.removeprefix("/api/2.0/mlflow/"):
            case "model-versions/get" if query["version"] in self.run_of:
                run_id = self.run_of[query["version"]]
                return json_of(
                    model_version={"version": query["version"], "run_id": run_id}
                )
            case "model-versions/get-download-uri":
                place = f"mlflow-artifacts:/1/models/m-{query['version']}/artifacts"
                return json_of(artifact_uri=place)
            case "registered-models/get":
                return json_of(registered_model={"description": "Irises."})
            case "runs/get":
                tags = [{"key": k, "value": v} for k, v in self.tags.items()]
                info = {"run_id": query["run_id"]}
                return json_of(run={"info": info, "data": {"tags": tags}})
            case "artifacts/list":
                files = [{"path": path} for path in self.runs[query["run_id"]]]
                return json_of(files=files)
            case "/get-artifact":
                found = self.runs[query["run_uuid"]][query["path"]]
                return httpx.Response(200, content=found)
        return httpx.Response(404, json={"message": f"{name} not found"})

    def stored(self, request: httpx.Request, path: str) -> httpx.Response:
        path = path.strip("/")
        if request.method == "PUT":
            self.store[path] = request.read()
            return json_of()
        if path:
            return httpx.Response(200, content=self.store[path])
        folder = request.url.params["path"] + "/"
        below = {p.removeprefix(folder) for p in self.store if p.startswith(folder)}
        files = {(p.partition("/")[0], "/" in p) for p in below}
        return json_of(files=[{"path": n, "is_dir": d} for n, d in sorted(files)])


def json_of(**content: Any) -> httpx.Response:
    return httpx.Response(200, json=content)


@pytest.fixture
def mlflow() -> Mlflow:
    return Mlflow()


@pytest.fixture
def registry(mlflow: Mlflow) -> Registry:
    transport = httpx.MockTransport(mlflow)
    return Registry("http://mlflow", bucket="mlflow", transport=transport)


def test_a_version_is_admitted_with_its_card_and_what_it_breaks(
    mlflow: Mlflow, registry: Registry
) -> None:
    mlflow.runs["r4"]["influence.json"] = json.dumps(INFLUENCE).encode()

    found = admit(registry, "iris", "4", stable=("iris", "3"), owner="team-a")

    assert found.difference is not None
    assert found.difference.kind == "breaking"
    assert found.difference.columns == (
        "column 'petal' takes string where it took double",
    )
    assert found.card["digest"] == found.found.digest
    assert found.card["purpose"] == "Irises."
    assert found.card["influence"]["method"] == "permutation importance"
    assert found.card["environment"] == ["mlflow==3"]


def test_the_first_variant_is_compared_with_nothing(registry: Registry) -> None:
    found = admit(registry, "iris", "4", stable=None, owner="team-a")

    assert found.difference is None
    assert found.card["difference"] is None


def test_a_run_that_lacks_something_is_refused_with_all_that_it_lacks(
    mlflow: Mlflow, registry: Registry
) -> None:
    mlflow.tags = {}
    mlflow.runs["r4"] = {}

    with pytest.raises(LabError, match="model 'iris' version 4: it can't be") as error:
        admit(registry, "iris", "4", stable=("iris", "3"), owner="team-a")

    lacking = re.findall(r"\n  - run r4 lacks (\w+ \w+)", str(error.value))
    assert lacking == ["a data", "its environment", "a code"]


def test_a_version_without_a_run_is_refused(mlflow: Mlflow, registry: Registry) -> None:
    mlflow.run_of["4"] = ""

    with pytest.raises(LabError, match="it was registered without a run"):
        admit(registry, "iris", "4", stable=None, owner="team-a")


def test_a_stable_that_left_the_registry_cannot_be_compared_with(
    mlflow: Mlflow, registry: Registry
) -> None:
    del mlflow.run_of["3"]

    found = admit(registry, "iris", "4", stable=("iris", "3"), owner="team-a")

    assert found.difference is not None
    assert found.difference.columns == (
        "the stable has no signature, so nobody can tell",
    )


def test_the_card_is_put_beside_the_artifact_and_changes_no_digest(
    mlflow: Mlflow, registry: Registry
) -> None:
    admitted = admit(registry, "iris", "4", stable=None, owner="team-a")

    publish(registry, admitted)

    assert json.loads(mlflow.store["1/models/m-4/card.json"]) == admitted.card
    page = mlflow.store["1/models/m-4/card.html"].decode()
    assert page == html(admitted.card)
    assert registry.digest_of(admitted.found.artifact) == admitted.found.digest
