"""Keep an edit of a settings file in git, where the file is kept in git."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from labfactory.errors import LabError
from stacks import load

_UNFINISHED = {
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
}
_PUSH_SECONDS = 120
_IDLE = ("hint:", "To ")
"""Beginnings of lines of git's that explain nothing."""


def record(
    path: Path,
    *,
    subject: str,
    reason: str | None,
    evidence: Mapping[str, str] = {},
    push: bool = False,
) -> str | None:
    """Commit the file at `path`, and nothing else, and return the commit's id.

    None when the file is in no git work tree, is ignored there, or has not changed.
    The message is `subject`, `reason`, and `evidence` as trailers. With `push` the
    commit is on a branch `lab/...` of the remote too. The current branch's upstream
    stays. Raises LabError when git refuses; the file and the commits made stay.
    """
    path = path.resolve()
    git = _Git(path)
    state = git.state()
    if state in (None, "", "!!"):
        return None
    git.must_be_free()
    commit = git.commit(_message(subject, reason, evidence), new=state == "??")
    if push or git.is_detached():
        branch = f"lab/{_slug(subject)}-{commit[:8]}"
        git.must(
            "branch",
            "--no-track",
            branch,
            commit,
            failure=f"commit {commit[:8]} is made, but its branch {branch} is not",
            way="make the branch by hand",
        )
        if push:
            git.push(branch)
    return commit


def kept(
    path: Path,
    *,
    subject: str,
    reason: str | None,
    evidence: Mapping[str, str] = {},
    push: bool = False,
) -> str:
    """`record` the edit; return a sentence for people, also when git refuses.

    The edit itself is made by then, and what comes after it must not wait for git.
    """
    try:
        commit = record(
            path, subject=subject, reason=reason, evidence=evidence, push=push
        )
    except LabError as error:
        return str(error)
    if commit is None:
        return f"{load.named(path)} is written (git does not keep it)"
    return f"{load.named(path)} is written and says why, in commit {commit[:8]}"


class _Git:
    """The work tree of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = load.named(path)

    def state(self) -> str | None:
        """Two letters of `git status`; nothing when it is committed as it is.

        None without git or a work tree.
        """
        if shutil.which("git") is None:
            return None
        inside = self.run("rev-parse", "--is-inside-work-tree")
        if "not a git repository" in inside.stderr or inside.stdout.strip() == "false":
            return None
        flags = ("--porcelain", "--untracked-files=all", "--ignored")
        found = self.must(
            "status",
            *flags,
            "--",
            str(self._path),
            failure="is written, but git cannot say whether it has it",
            way="mend that, then commit the file",
        )
        marks = [line[:2] for line in found.splitlines()]
        # One that was just taken out of git is there twice: deleted, and ignored.
        return next((mark for mark in ("!!", "??") if mark in marks), found[:2])

    def must_be_free(self) -> None:
        """Refuse while a merge or the like waits to be finished by a person."""
        for name, what in _UNFINISHED.items():
            found = self.run("rev-parse", "--git-path", name).stdout.strip()
            if (self._path.parent / found).exists():
                raise LabError(
                    f"{self._name}: is written, but not committed ({what} is "
                    f"unfinished in its git work tree); finish it, then commit the file"
                )

    def commit(self, message: str, *, new: bool) -> str:
        """Commit the file as it is on disk; what else is staged stays staged."""
        file = str(self._path)
        failure, way = "is written, but not committed", "mend that, then commit it"
        if new:
            self.must("add", "--intent-to-add", "--", file, failure=failure, way=way)
        flags = ("--quiet", "--cleanup=whitespace", "--file=-", "--only", "--", file)
        try:
            self.must(
                *self._author(),
                "commit",
                *flags,
                failure=failure,
                way=way,
                stdin=message,
            )
        except LabError:
            if new:
                self.run("rm", "--cached", "--quiet", "--", file)
            raise
        return self.run("rev-parse", "HEAD").stdout.strip()

    def is_detached(self) -> bool:
        """Whether no branch holds new commits, so that they are easily lost."""
        return self.run("symbolic-ref", "--quiet", "HEAD").returncode != 0

    def push(self, branch: str) -> None:
        """Push a branch to `origin`, or to the only remote."""
        remotes = self.run("remote").stdout.split()
        if "origin" in remotes:
            remotes = ["origin"]
        if len(remotes) != 1:
            several = f"several remotes ({', '.join(remotes)}), none of them origin"
            raise LabError(
                f"{self._name}: is committed, on the branch {branch}, but not pushed "
                f"(the work tree has {several if remotes else 'no remote'}); "
                f"`git push REMOTE {branch}` does it"
            )
        ref = f"refs/heads/{branch}"
        self.must(
            "push",
            "--quiet",
            remotes[0],
            f"{ref}:{ref}",
            failure=f"is committed, on the branch {branch}, but not pushed",
            way=f"mend that, then `git push {remotes[0]} {branch}`",
        )

    def must(
        self, *words: str, failure: str, way: str, stdin: str | None = None
    ) -> str:
        """What git prints; a LabError of `failure`, git's own words, and `way`."""
        done = self.run(*words, stdin=stdin)
        if done.returncode == 0:
            return done.stdout
        said = [*done.stdout.splitlines(), *done.stderr.splitlines()]
        lines = [line.removeprefix("remote:").strip() for line in said]
        telling = [line for line in lines if line and not line.startswith(_IDLE)]
        # A hook says much; its end, and what git says about it, say most.
        why = " / ".join(telling[-4:]) or f"git ended with {done.returncode}"
        raise LabError(f"{self._name}: {failure} ({why}); {way}")

    def run(
        self, *words: str, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run git in the file's folder."""
        # Inside a hook these would name another work tree, or another index.
        other = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
        environment = {k: v for k, v in os.environ.items() if k not in other}
        environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
        command = ["git", "-C", str(self._path.parent), *words]
        try:
            return subprocess.run(
                command,
                input=stdin or "",
                capture_output=True,
                text=True,
                errors="replace",
                encoding="utf-8",
                env=environment,
                timeout=_PUSH_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            late = f"no answer within {_PUSH_SECONDS} s"
            return subprocess.CompletedProcess(command, 1, "", late)

    def _author(self) -> list[str]:
        """Who commits when git's configuration does not say it."""
        usual = {"user.name": "lab", "user.email": f"lab@{socket.gethostname()}"}
        words: list[str] = []
        for key, value in usual.items():
            if not self.run("config", "--get", key).stdout.strip():
                words += ["-c", f"{key}={value}"]
        return words


def _message(subject: str, reason: str | None, evidence: Mapping[str, str]) -> str:
    paragraphs = [_line(subject)]
    if reason and reason.strip():
        paragraphs.append(reason.strip())
    if evidence:
        trailers = [f"{_key(key)}: {_line(each)}" for key, each in evidence.items()]
        paragraphs.append("\n".join(trailers))
    return "\n\n".join(paragraphs) + "\n"


def _key(text: str) -> str:
    """A trailer's key, which git takes for one: `Failed-requests`."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").capitalize() or "Evidence"


def _slug(text: str) -> str:
    """A part of a branch's name."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:40].strip("-") or "settings"


def _line(text: str) -> str:
    return " ".join(text.split())
