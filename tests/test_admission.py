"""Which runs may become a release."""

from labfactory.releases.models.admission import problems
from labfactory.releases.models.run import Dataset, Run

COMPLETE = Run(
    "r1",
    tags={"mlflow.source.git.commit": "0123abc"},
    datasets=(Dataset("iris", "d1", "training"),),
)
FILES = frozenset({"environment.txt", "expected.json"})


def test_a_run_that_says_all_of_it_may_be_released() -> None:
    assert problems(COMPLETE, FILES) == []


def test_tags_stand_in_for_a_dataset_and_for_git() -> None:
    run = Run("r1", tags={"data": "sha256:12", "code": "sha256:34"})

    assert problems(run, FILES) == []


def test_everything_that_is_missing_is_said_at_once_with_the_line_that_logs_it() -> (
    None
):
    data, environment, code = problems(Run("r1"), ())

    assert "r1 lacks a data digest" in data
    assert 'start_run(run_id="r1"): mlflow.log_input(' in data
    assert "'environment.txt'" in environment
    assert '.log_text("r1", ' in environment
    assert "lacks a code version" in code
    assert '.set_tag("r1", "code", ' in code


def test_a_dataset_without_a_digest_is_none() -> None:
    run = Run("r1", tags=COMPLETE.tags, datasets=(Dataset("iris", ""),))

    [said] = problems(run, FILES)

    assert "a data digest" in said
