"""Drive the real `pulumi` for one stack: select, apply, recover, read outputs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from labfactory import environment, paths
from labfactory.check import pack
from labfactory.errors import LabError
from stacks.load import read
from stacks.schema import LabConfig


class Stack:
    """One lab's Pulumi stack, in this checkout."""

    def __init__(self, name: str, *, project: Path = paths.PROJECT) -> None:
        """Refer to the stack `name`; nothing is touched yet."""
        self.name = name
        self.project = project
        self.file = project / "stacks" / f"Pulumi.{name}.yaml"

    @property
    def settings(self) -> LabConfig:
        """The settings on disk now; raises LabError without a file, SettingsError."""
        if not self.file.exists():
            raise LabError(
                f"lab {self.name!r}: there is no {self.file.name} in stacks/; "
                f"`lab new {self.name}` writes one"
            )
        return read(self.file)

    def ensure(self, seed: Callable[[], str]) -> None:
        """Select the stack; create it, with its secret seed, when it is new.

        Raises LabError when the settings file cannot be decrypted.
        """
        if self._pulumi("stack", "select", self.name).returncode != 0:
            self._must("stack", "init", self.name)
        found = self._pulumi("config", "get", "seed", "--stack", self.name)
        if found.returncode == 0:
            return
        if "not found" not in found.stderr:
            raise LabError(self._explain(found.stderr))
        self._must(
            "config", "set", "--secret", "--stack", self.name, "seed", stdin=seed()
        )

    def up(
        self,
        *,
        watch: Callable[[], str | None] | None = None,
        drill: Mapping[str, Any] | None = None,
        judged: bool = True,
    ) -> None:
        """Run `pulumi up`; `watch` may end it early with the reason of a failure.

        `watch` is asked every other second; a sentence from it interrupts Pulumi,
        which finishes what is in flight and releases its lock. `drill` is the last
        drill, for the policies, which are not asked unless it is `judged`. Raises
        LabError.
        """
        with self._only_one(), pack.run(self._environment(), drill) as run:
            self.recover()
            # Whoever runs this has held the settings against the policies. Here they
            # see the stack when all is done; a preview would find nothing more.
            process = subprocess.Popen(
                ["pulumi", "up", *self._flags(), *(run.flags if judged else ())],
                cwd=self.project,
                env=run.environment,
            )
            reason = self._wait(process, watch)
            refused = run.refusal(self.name) if process.returncode else None
        if reason or refused:
            raise LabError(reason or refused)
        if process.returncode != 0:
            raise LabError(
                f"stack {self.name!r}: pulumi up ended with exit code "
                f"{process.returncode}; what it could not do stands above. Nothing "
                f"is lost: mend the cause and run `lab up {self.name}` again"
            )

    def destroy(self) -> None:
        """Run `pulumi destroy`. Raises LabError when something could not be removed."""
        with self._only_one():
            self.recover()
            result = subprocess.run(
                ["pulumi", "destroy", *self._flags()],
                cwd=self.project,
                env=self._environment(),
                check=False,
            )
        if result.returncode != 0:
            raise LabError(f"stack {self.name!r}: pulumi destroy failed; see above")

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs; empty before the first `up`."""
        shown = self._must("stack", "output", "--json", "--stack", self.name)
        outputs: dict[str, Any] = json.loads(shown)
        return outputs

    def preview(
        self, *, drill: Mapping[str, Any] | None = None, judged: bool = True
    ) -> dict[str, Any]:
        """Run `pulumi preview`; return its JSON, with what stays as it is.

        Beside Pulumi's own there are `policies`: what the rules have found. `drill` is
        the last drill, for them. Raises LabError when it fails, or a rule refuses;
        unless it is `judged`, a refusal is among the `policies` alone.
        """
        arguments = ("preview", "--json", "--show-sames", "--stack", self.name)
        with pack.run(self._environment(), drill) as run:
            result = self._pulumi(*arguments, *run.flags, given=run.environment)
            refusal = run.refusal(self.name)
            # Pulumi writes down what it would do also when a policy refuses it.
            complete = result.returncode == 0 or (refusal and not judged)
            if not complete:
                said = _errors(result.stdout) or result.stderr.strip() or result.stdout
                raise LabError(refusal or self._explain(said))
            found: dict[str, Any] = json.loads(result.stdout)
            return {**found, "policies": run.found()}

    def changes(self) -> dict[str, int]:
        """Run `pulumi preview`; return how many resources each operation touches.

        Looking at somebody else's object, such as a shared gateway whose status has
        changed, touches nothing.
        """
        summary: dict[str, int] = self.preview()["changeSummary"]
        return {op: n for op, n in summary.items() if op not in ("same", "read")}

    def recover(self) -> None:
        """Undo what a killed `pulumi` left: a stale lock, half-done operations.

        Every object of a lab has a fixed name and is applied as an upsert, so an
        interrupted create is simply done again.
        """
        for lock in self._locks():
            held = json.loads(lock.read_text() or "{}")
            pid = int(held.get("pid", 0))
            if pid and _runs_pulumi(pid):
                raise LabError(
                    f"stack {self.name!r}: pulumi (process {pid}, started "
                    f"{held.get('timestamp', 'earlier')}) holds the lock; wait for it, "
                    f"or end it and run the command again"
                )
            lock.unlink(missing_ok=True)
            end_orphans(self.name)
        exported = self._pulumi("stack", "export", "--stack", self.name)
        if exported.returncode != 0:
            raise LabError(self._explain(exported.stderr))
        state = json.loads(exported.stdout)
        if (state.get("deployment") or {}).pop("pending_operations", None):
            self._must("stack", "import", "--stack", self.name, stdin=json.dumps(state))

    def forget(self) -> None:
        """Drop the stack's state; for a cluster whose data is gone too."""
        self._pulumi("stack", "rm", "--yes", "--force", "--preserve-config", self.name)

    def _flags(self) -> list[str]:
        flags = ["--yes", "--skip-preview", "--stack", self.name]
        # A log is for reading: one line per change, not one per heartbeat.
        return flags if sys.stdout.isatty() else [*flags, "--suppress-progress"]

    def _locks(self) -> list[Path]:
        backend = self._environment()["PULUMI_BACKEND_URL"]
        if not backend.startswith("file://"):
            return []
        folder = Path(backend.removeprefix("file://")) / ".pulumi" / "locks"
        return sorted(folder.glob(f"**/labfactory/{self.name}/*.json"))

    def _wait(
        self, process: subprocess.Popen[bytes], watch: Callable[[], str | None] | None
    ) -> str | None:
        reason: str | None = None
        while True:
            try:
                process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                if watch and not reason and (reason := watch()):
                    process.send_signal(signal.SIGINT)
            except KeyboardInterrupt:
                # The terminal has sent the interrupt to Pulumi too: let it finish
                # what is in flight and give its lock back.
                process.wait()
                raise
            else:
                return reason

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        """Let one `lab` work on the stack at a time; the second says who holds it."""
        path = paths.data() / "locks" / f"{self.name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = path.with_suffix(".pid")
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            pid = holder.read_text() if holder.exists() else "unknown"
            raise LabError(
                f"stack {self.name!r}: another `lab` (process {pid}) is working on it; "
                f"wait until it is done"
            ) from None
        try:
            holder.write_text(str(os.getpid()))
            yield
        finally:
            lock.release()

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **environment.variables()}

    def _pulumi(
        self,
        *arguments: str,
        stdin: str | None = None,
        given: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.project,
            env=given or self._environment(),
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            check=False,
        )

    def _must(self, *arguments: str, stdin: str | None = None) -> str:
        result = self._pulumi(*arguments, stdin=stdin)
        if result.returncode != 0:
            said = result.stderr.strip() or result.stdout.strip()
            raise LabError(self._explain(said))
        return result.stdout

    def _explain(self, said: str) -> str:
        if "incorrect passphrase" in said:
            used = self._environment().get(
                "PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_CONFIG_PASSPHRASE"
            )
            return (
                f"{self.file.name}: its secrets were encrypted with another passphrase "
                f"than the one in {used}; restore that file, or set "
                f"PULUMI_CONFIG_PASSPHRASE_FILE to the right one"
            )
        return f"stack {self.name!r}: pulumi says: {said.strip()}"


def end_orphans(stack: str) -> None:
    """End the program of a `pulumi` that was killed: it waits for it for ever."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        ours = any(word.endswith("pulumi-language-python-exec") for word in words)
        if not ours or words[words.index("--stack") + 1 :][:1] != [stack]:
            continue
        try:
            above = process.parents()
            if any(parent.name() == "pulumi" for parent in above):
                continue
            hosts = [p for p in above if p.name().startswith("pulumi-language")]
            for orphan in (process, *hosts):
                orphan.terminate()
        except psutil.NoSuchProcess:
            continue


def _errors(shown: str) -> str:
    """The errors in the JSON of a preview; nothing where it is none."""
    try:
        told = json.loads(shown).get("diagnostics") or []
    except json.JSONDecodeError:
        return ""
    return "".join(each["message"] for each in told if each["severity"] == "error")


def _runs_pulumi(pid: int) -> bool:
    try:
        return "pulumi" in psutil.Process(pid).name()
    except psutil.NoSuchProcess:
        return False
