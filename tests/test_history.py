"""An edit of the settings is a commit of its own, where the settings are in git."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from labfactory.errors import LabError
from labfactory.settings import history

SUBJECT = "Roll back iris: v4 taken back"


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where git has no configuration and no repository is above."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_DIR", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{who}_NAME", raising=False)
        monkeypatch.delenv(f"GIT_{who}_EMAIL", raising=False)


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A work tree with a committed settings file that has been edited since."""
    folder = tmp_path / "repo"
    (folder / "stacks").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "config", "user.name", "Ada")
    git(folder, "config", "user.email", "ada@example.com")
    settings(folder).write_text("a: 1\n")
    (folder / "other").write_text("1\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=first")
    settings(folder).write_text("a: 2\n")
    return folder


def settings(folder: Path) -> Path:
    return folder / "stacks" / "Pulumi.demo.yaml"


def record(folder: Path, *, push: bool = False) -> str | None:
    return history.record(settings(folder), subject=SUBJECT, reason="slow", push=push)


def test_the_commit_has_the_file_alone_and_what_is_staged_stays_staged(
    repo: Path,
) -> None:
    (repo / "other").write_text("2\n")
    git(repo, "add", "other")

    commit = record(repo)

    assert commit == git(repo, "rev-parse", "HEAD")
    assert git(repo, "show", "--name-only", "--format=") == "stacks/Pulumi.demo.yaml"
    assert git(repo, "status", "--porcelain") == "M  other"
    assert git(repo, "show", "HEAD:stacks/Pulumi.demo.yaml") == "a: 2"


def test_the_message_says_why_and_on_what_evidence(repo: Path) -> None:
    history.record(
        settings(repo),
        subject="Roll back\niris",
        reason="# p99 over 2 s: see the board",
        evidence={"failed requests": "12 of\n100", "Rolled-back-by": "ada@host"},
    )

    assert git(repo, "log", "-1", "--format=%B") == (
        "Roll back iris\n\n# p99 over 2 s: see the board\n\n"
        "Failed-requests: 12 of 100\nRolled-back-by: ada@host"
    )
    trailers = git(repo, "log", "-1", "--format=%(trailers:key=failed-requests)")
    assert trailers == "Failed-requests: 12 of 100"


def test_the_author_is_the_one_that_git_knows(repo: Path) -> None:
    record(repo)

    assert git(repo, "log", "-1", "--format=%an <%ae>") == "Ada <ada@example.com>"


def test_a_machine_without_an_author_commits_as_lab(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "ci-7")
    git(repo, "config", "--unset", "user.name")
    git(repo, "config", "--unset", "user.email")

    record(repo)

    assert git(repo, "log", "-1", "--format=%an <%ae>") == "lab <lab@ci-7>"


def test_a_file_that_is_new_is_added(repo: Path) -> None:
    new = settings(repo).with_name("Pulumi.new.yaml")
    new.write_text("b: 1\n")

    commit = history.record(new, subject="New lab", reason=None)

    assert commit
    assert git(repo, "show", "--name-only", "--format=%B") == (
        "New lab\n\n\nstacks/Pulumi.new.yaml"
    )
    assert git(repo, "status", "--porcelain") == "M stacks/Pulumi.demo.yaml"


def test_the_first_commit_of_a_repository_can_be_this_one(repo: Path) -> None:
    fresh = repo.parent / "fresh"
    (fresh / "stacks").mkdir(parents=True)
    git(fresh, "init", "--quiet")
    settings(fresh).write_text("a: 1\n")

    assert record(fresh) == git(fresh, "rev-parse", "HEAD")


def test_a_file_behind_a_link_is_committed_where_it_is(repo: Path) -> None:
    link = repo.parent / "Pulumi.demo.yaml"
    link.symlink_to(settings(repo))

    assert history.record(link, subject=SUBJECT, reason=None)
    assert git(repo, "status", "--porcelain") == ""


def no_repository(repo: Path) -> None:
    (repo / ".git").rename(repo / "elsewhere")


def ignored(repo: Path) -> None:
    git(repo, "rm", "--quiet", "--cached", "stacks/Pulumi.demo.yaml")
    (repo / ".gitignore").write_text("/stacks/\n")


def unchanged(repo: Path) -> None:
    git(repo, "checkout", "--quiet", "stacks")


@pytest.mark.parametrize("arrange", [no_repository, ignored, unchanged])
def test_where_git_does_not_keep_the_file_nothing_is_done(
    repo: Path, arrange: Callable[[Path], None]
) -> None:
    arrange(repo)
    before = settings(repo).read_text()

    assert record(repo, push=True) is None

    assert settings(repo).read_text() == before


def test_without_git_nothing_is_done(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(repo))

    assert record(repo) is None


def remote(repo: Path, name: str) -> Path:
    folder = repo.parent / f"{name}.git"
    git(repo.parent, "init", "--quiet", "--bare", str(folder))
    git(repo, "remote", "add", name, str(folder))
    return folder


@pytest.mark.parametrize("names", [["origin", "other"], ["only"]])
def test_a_push_is_a_branch_of_its_own(repo: Path, names: list[str]) -> None:
    first, *others = [remote(repo, name) for name in names]
    git(repo, "push", "--quiet", "--set-upstream", names[0], "main")
    before = git(first, "rev-parse", "main")

    commit = record(repo, push=True)

    assert commit
    branch = f"lab/roll-back-iris-v4-taken-back-{commit[:8]}"
    assert git(first, "rev-parse", branch) == commit
    assert git(first, "rev-parse", "main") == before
    assert git(repo, "rev-parse", "--abbrev-ref", "@{upstream}") == f"{names[0]}/main"
    assert git(repo, "symbolic-ref", "--short", "HEAD") == "main"
    for other in others:
        assert git(other, "for-each-ref") == ""


def without_remote(repo: Path) -> None:
    """There is nothing to push to."""


def with_two(repo: Path) -> None:
    remote(repo, "left")
    remote(repo, "right")


def refusing(repo: Path) -> None:
    hook = remote(repo, "origin") / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho branches are closed >&2\nexit 1\n")
    hook.chmod(0o755)


@pytest.mark.parametrize(
    ("arrange", "words"),
    [
        (without_remote, "no remote"),
        (with_two, r"several remotes \(left, right\)"),
        (refusing, "branches are closed"),
    ],
)
def test_a_push_that_fails_leaves_the_commit(
    repo: Path, arrange: Callable[[Path], None], words: str
) -> None:
    arrange(repo)

    with pytest.raises(LabError, match=rf"is committed.*not pushed.*{words}") as error:
        record(repo, push=True)

    assert "`git push " in str(error.value)
    assert git(repo, "log", "-1", "--format=%s") == SUBJECT


def test_a_hook_that_refuses_is_quoted_and_nothing_is_committed(repo: Path) -> None:
    hook = repo / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no friday releases\nexit 1\n")
    hook.chmod(0o755)
    new = settings(repo).with_name("Pulumi.new.yaml")
    new.write_text("b: 1\n")
    before = git(repo, "status", "--porcelain")

    for file in (settings(repo), new):
        with pytest.raises(LabError, match=r"not committed \(no friday releases\)"):
            history.record(file, subject=SUBJECT, reason=None)

    assert git(repo, "log", "-1", "--format=%s") == "first"
    assert git(repo, "status", "--porcelain") == before


def merging(repo: Path) -> None:
    git(repo, "stash", "--quiet")
    git(repo, "checkout", "--quiet", "-b", "side")
    (repo / "other").write_text("2\n")
    git(repo, "commit", "--quiet", "--all", "--message=side")
    git(repo, "checkout", "--quiet", "main")
    git(repo, "merge", "--no-commit", "--no-ff", "side")
    settings(repo).write_text("a: 2\n")


def rebasing(repo: Path) -> None:
    git(repo, "stash", "--quiet")
    (repo / "other").write_text("2\n")
    git(repo, "commit", "--quiet", "--all", "--message=second")
    git(repo, "-c", "sequence.editor=sed -i s/pick/edit/", "rebase", "-i", "HEAD~1")
    settings(repo).write_text("a: 2\n")


@pytest.mark.parametrize(
    ("arrange", "what"), [(merging, "a merge"), (rebasing, "a rebase")]
)
def test_nothing_is_committed_into_what_is_unfinished(
    repo: Path, arrange: Callable[[Path], None], what: str
) -> None:
    arrange(repo)
    before = git(repo, "rev-parse", "HEAD")

    with pytest.raises(LabError, match=rf"not committed \({what} is unfinished"):
        record(repo)

    assert git(repo, "rev-parse", "HEAD") == before
    assert settings(repo).read_text() == "a: 2\n"


def test_a_commit_on_no_branch_gets_one(repo: Path) -> None:
    git(repo, "checkout", "--quiet", "--detach")

    commit = record(repo)

    assert commit
    held = git(repo, "for-each-ref", "--format=%(refname:short)", "--contains", commit)
    assert held == f"lab/roll-back-iris-v4-taken-back-{commit[:8]}"
