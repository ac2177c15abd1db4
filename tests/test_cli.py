import subprocess
import sys

import pytest
from typer.testing import CliRunner

from labfactory import cli, paths
from labfactory.errors import LabError


def test_every_verb_says_what_it_does() -> None:
    shown = CliRunner().invoke(cli.app, ["--help"], env={"COLUMNS": "120"}).output

    for command in cli.app.registered_commands:
        assert command.callback
        sentence = (command.callback.__doc__ or "").splitlines()[0]
        assert sentence.split(";")[0][:40] in shown


def test_help_loads_no_engine() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from labfactory.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'pulumi', 'kubernetes', 'pydantic', 'httpx', 'mlflow'}\n"
        "loaded = sorted(heavy & {*sys.modules})\n"
        "sys.exit(str(loaded) if loaded else 0)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=paths.PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr


def test_a_mistake_is_a_sentence_and_not_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app(**_: object) -> None:
        raise LabError("lab 'x': there is no Pulumi.x.yaml in stacks/")

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 1
    shown = capsys.readouterr().err
    assert shown == "error: lab 'x': there is no Pulumi.x.yaml in stacks/\n"


def test_an_interrupt_says_that_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 130
    assert "the same command continues" in capsys.readouterr().err
