"""What a caller notices when one contract takes another's place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from labfactory.errors import LabError
from labfactory.releases.models.contract import (
    WIDER,
    Column,
    Contract,
    Output,
    compare,
    of,
)

NAMES = st.sampled_from(["age", "bmi", "sex"])
TYPES = st.sampled_from(["integer", "long", "float", "double", "string", "boolean"])
BOUNDS = st.none() | st.integers(0, 3)


@st.composite
def columns(draw: st.DrawFn) -> Column:
    return Column(
        name=draw(NAMES),
        type=draw(TYPES),
        required=draw(st.booleans()),
        min=draw(BOUNDS),
        max=draw(BOUNDS),
        categories=draw(st.none() | st.sets(st.sampled_from("ab")).map(tuple)),
        declared=draw(st.booleans()),
    )


OUTPUTS = st.lists(
    st.builds(Output, name=NAMES, type=TYPES), unique_by=lambda o: o.name
)
CONTRACTS = st.builds(
    Contract,
    inputs=st.lists(columns(), min_size=1, unique_by=lambda c: c.name).map(tuple),
    outputs=st.none() | OUTPUTS.map(tuple),
    params=OUTPUTS.map(tuple),
)


def contract(*inputs: Column, outputs: tuple[Output, ...] | None = None) -> Contract:
    return Contract(inputs=inputs, outputs=outputs)


def column(name: str = "age", type_: str = "double", **more: Any) -> Column:
    return Column(name=name, type=type_, **more)


@given(CONTRACTS)
@settings(deadline=None)
def test_a_contract_is_the_same_as_itself(one: Contract) -> None:
    assert compare(one, one).kind == "same"


@st.composite
def successors(draw: st.DrawFn, of_: Contract) -> Contract:
    """A contract like `of_` but for small steps, most of which are compatible."""
    inputs = []
    for old in of_.inputs or ():
        wider = sorted(WIDER.get(old.type, ())) or [old.type]
        change = {
            "type": draw(st.sampled_from([old.type, *wider])),
            "required": old.required and draw(st.booleans()),
            "max": draw(st.sampled_from([old.max, None, 5.0])),
            "declared": draw(st.booleans()),
        }
        inputs.append(old.model_copy(update=change))
    outputs = of_.outputs
    if outputs is None or draw(st.booleans()):
        outputs = (*(outputs or ()), Output(name=f"new{draw(NAMES)}", type="double"))
    return of_.model_copy(update={"inputs": tuple(inputs), "outputs": outputs})


@given(st.data(), CONTRACTS)
@settings(deadline=None)
def test_two_steps_that_break_nobody_break_nobody_together(
    data: st.DataObject, first: Contract
) -> None:
    second = data.draw(successors(first))
    third = data.draw(successors(second))
    assume("breaking" not in {compare(first, second).kind, compare(second, third).kind})

    assert compare(first, third).kind != "breaking"


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (column(type_="long"), column(type_="double"), "compatible"),
        (column(type_="double"), column(type_="long"), "breaking"),
        (column(type_="integer"), column(type_="float"), "breaking"),
        (column(type_="double"), column(type_="string"), "breaking"),
        (column(required=True), column(required=False), "compatible"),
        (column(required=False), column(required=True), "breaking"),
        # What was learnt is no promise: a model may answer beyond its training data.
        (column(min=0, max=9), column(min=2, max=5), "compatible"),
        (column(categories=("a", "b")), column(categories=("a",)), "compatible"),
        (column(min=0), column(min=2, declared=True), "breaking"),
        (column(min=2), column(min=2, declared=True), "breaking"),
        (column(), column(categories=("a",), declared=True), "breaking"),
        (column(min=0, declared=True), column(min=2, declared=True), "breaking"),
        (column(min=2, declared=True), column(min=0, declared=True), "compatible"),
        (column(min=2, declared=True), column(min=2), "compatible"),
        (
            column(max=1.0000004, declared=True),
            column(max=1.0000003, declared=True),
            "breaking",
        ),
        (
            column(categories=("a", "b"), declared=True),
            column(categories=("b", "a"), declared=True),
            "same",
        ),
    ],
)
def test_one_column_that_changes(old: Column, new: Column, kind: str) -> None:
    found = compare(contract(old), contract(new))

    assert found.kind == kind
    assert all("'age'" in sentence for sentence in found.columns)
    assert bool(found.columns) == (kind != "same")


AGE, BMI = column("age"), column("bmi")


@pytest.mark.parametrize(
    ("stable", "candidate", "words"),
    [
        (contract(AGE), contract(AGE, BMI), "'bmi' is new and required"),
        (
            contract(AGE),
            contract(AGE, column("bmi", required=False)),
            "'bmi' is new and optional, but lengthens lists",
        ),
        (contract(AGE, BMI), contract(AGE), "'bmi' is gone"),
        (contract(AGE, BMI), contract(BMI, AGE), "'bmi' is where 'age' was"),
        (Contract(), contract(AGE), "the stable has no signature"),
        (contract(AGE), Contract(), "the candidate has no signature"),
        (Contract(), Contract(), "the stable has no signature"),
    ],
)
def test_a_call_that_was_right_and_is_refused_or_misread_is_a_break(
    stable: Contract, candidate: Contract, words: str
) -> None:
    found = compare(stable, candidate)

    assert found.kind == "breaking"
    assert words in found.columns[0]


ONE, TWO = Output(name="label", type="string"), Output(name="score", type="double")


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ((ONE,), (Output(name="label", type="long"),), "breaking"),
        ((ONE, TWO), (ONE,), "breaking"),
        ((ONE, TWO), (TWO, ONE), "same"),
        ((ONE, TWO), (ONE, TWO, Output(name="why", type="string")), "compatible"),
        # A single output may be a bare value, which becomes an object beside others.
        ((ONE,), (ONE, TWO), "breaking"),
        (None, (ONE,), "same"),
        ((ONE,), None, "breaking"),
    ],
)
def test_an_answer_of_another_form_is_a_break(
    old: tuple[Output, ...] | None, new: tuple[Output, ...] | None, kind: str
) -> None:
    assert compare(contract(AGE, outputs=old), contract(AGE, outputs=new)).kind == kind


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ((), (ONE,), "compatible"),
        ((ONE,), (), "breaking"),
        ((TWO,), (Output(name="score", type="string"),), "breaking"),
        ((Output(name="score", type="long"),), (TWO,), "compatible"),
    ],
)
def test_a_parameter_that_a_call_may_set_can_still_be_set(
    old: tuple[Output, ...], new: tuple[Output, ...], kind: str
) -> None:
    stable, candidate = contract(AGE), contract(AGE)

    found = compare(
        stable.model_copy(update={"params": old}),
        candidate.model_copy(update={"params": new}),
    )

    assert found.kind == kind


def test_what_breaks_callers_is_said_first() -> None:
    stable = contract(column("age", min=1), column("bmi", "long"))
    candidate = contract(column("age", min=2), column("bmi", "string"))

    found = compare(stable, candidate)

    assert [change.breaking for change in found.changes] == [True, False]
    assert found.columns[0] == "column 'bmi' takes string where it took long"


SIGNATURE = {
    "inputs": '[{"type": "double", "name": "age", "required": true},'
    ' {"type": "string", "name": "sex", "required": false}]',
    "outputs": '[{"type": "tensor", "tensor-spec": {"dtype": "float64",'
    ' "shape": [-1]}}]',
    "params": '[{"name": "t", "default": 0.1, "shape": null, "type": "double"}]',
}


def test_a_contract_is_the_signature_with_what_was_learnt() -> None:
    learnt = {"inputs": [{"name": "age", "type": "double", "min": 1, "max": 9}]}

    found = of(SIGNATURE, learnt)

    assert found.inputs == (
        column("age", min=1, max=9),
        column("sex", "string", required=False),
    )
    assert found.outputs == (Output(name="0", type="tensor(float64, [-1])"),)
    assert found.params == (Output(name="t", type="double"),)


def test_a_written_contract_is_enough_for_a_model_without_a_signature() -> None:
    written = {"inputs": [{"name": "age", "type": "long"}], "outputs": []}

    assert of(None, written) == contract(column("age", "long"), outputs=())
    assert of(None, None) == Contract()


def test_nested_types_are_told_apart() -> None:
    one = of({"inputs": [{"type": "array", "items": {"type": "long"}}]}, None)
    other = of({"inputs": [{"type": "array", "items": {"type": "string"}}]}, None)

    assert compare(one, one).kind == "same"
    assert compare(one, other).kind == "breaking"


@pytest.mark.parametrize(
    ("learnt", "words"),
    [
        ({"inputs": [{"name": "bmi", "type": "double"}]}, "'bmi' is not in it"),
        ({"inputs": [{"name": "age", "type": "long"}]}, "double there and long here"),
        ({"inputs": [{"name": "age"}]}, "inputs.0.type: Field required"),
        ({"inputs": [{"name": "age", "type": "double", "mim": 1}]}, "inputs.0.mim"),
    ],
)
def test_a_contract_file_that_cannot_be_meant_is_refused(
    learnt: dict[str, Any], words: str
) -> None:
    with pytest.raises(LabError, match=r"contract\.json") as error:
        of(SIGNATURE, learnt)

    assert words in str(error.value)


def test_a_signature_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(LabError, match="its signature can't be read"):
        of({"inputs": "[{"}, None)
