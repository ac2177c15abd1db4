import io
import sys
import threading
from pathlib import Path

import pytest

from labfactory import progress
from labfactory.errors import LabError
from labfactory.progress import Progress, clock, remaining


@pytest.fixture
def stream(home: Path) -> io.StringIO:
    return io.StringIO()


def test_a_step_says_when_it_begins_and_how_it_ended(stream: io.StringIO) -> None:
    with Progress(stream).step("bake", estimate=61) as step:
        step.note = "12 loaves"

    assert (
        stream.getvalue() == "  … bake (about 1 min 01 s)\n  ✓ bake: 12 loaves (0 s)\n"
    )


def test_a_failed_command_names_the_log_and_shows_its_last_lines(
    stream: io.StringIO,
) -> None:
    with (
        pytest.raises(LabError) as error,
        Progress(stream).step("bake") as step,
    ):
        step.run([sys.executable, "-c", "import sys; sys.exit('the oven is cold')"])

    assert "exit code 1" in str(error.value)
    assert "the oven is cold" in str(error.value)
    assert str(step.log) in str(error.value)
    assert "the oven is cold" in step.log.read_text()
    assert "✗ bake: failed" in stream.getvalue()


def test_an_interrupted_step_says_so(stream: io.StringIO) -> None:
    with pytest.raises(KeyboardInterrupt), Progress(stream).step("bake"):
        raise KeyboardInterrupt

    assert "✗ bake: interrupted" in stream.getvalue()


def test_a_running_step_is_never_silent_for_long(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0.0)
    seen = threading.Event()
    real = stream.write

    def write(text: str) -> int:
        if "left" in text:
            seen.set()
        return real(text)

    monkeypatch.setattr(stream, "write", write)
    with Progress(stream).step("bake", estimate=100):
        assert seen.wait(10)

    assert "bake 1 s, about 1 min 39 s left" in stream.getvalue()


def test_the_heartbeat_leaves_room_below_ten_seconds() -> None:
    assert progress.HEARTBEAT_SECONDS + 1 < 10


def test_a_step_that_takes_longer_than_estimated_says_so(home: Path) -> None:
    step = progress.Step("bake", estimate=0.5)
    step.started -= 20
    try:
        assert remaining(step) == "bake 20 s, longer than usual"
    finally:
        step.close()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (754, "12 min 34 s")],
)
def test_time_is_said_as_a_person_says_it(seconds: float, text: str) -> None:
    assert clock(seconds) == text
