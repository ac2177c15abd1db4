"""`lab backup key`: the sheet that opens backups when the lab is gone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

from labfactory import environment
from labfactory.backups.jobs import with_backups
from labfactory.backups.source import found_in, inside
from labfactory.errors import LabError
from labfactory.stack import Stack

FORWARDED = "localhost:9000"
"""Where a second store inside the cluster answers once its port is forwarded."""


def show(lab: str, *, yes: bool = False) -> None:
    """Print where the lab's backups are and what opens them.

    No other command prints secrets; this one does so at a terminal, or elsewhere with
    `yes`. Raises LabError.
    """
    from labfactory.backups.cluster import Cluster

    if not (yes or sys.stdout.isatty()):
        raise LabError(
            "backup key: prints secrets, and what it prints goes to a file or a "
            "program and not to a terminal; add `--yes` if that is meant"
        )
    stack = Stack(lab)
    settings = with_backups(stack.settings, lab)
    with Cluster(settings.cluster.context) as cluster:
        repository = found_in(cluster, settings.name)
    variables = environment.variables()
    passphrase = variables.get("PULUMI_CONFIG_PASSPHRASE_FILE")
    print(sheet(settings.name, repository, stack.file.name, passphrase))


def sheet(
    lab: str, repository: Mapping[str, str], settings: str, passphrase: str | None
) -> str:
    """The sheet as text. Pure.

    `settings` names the lab's settings file, `passphrase` the file that opens its
    secrets, or None when somebody keeps the passphrase elsewhere.
    """
    address = repository["RESTIC_REPOSITORY"]
    first = []
    if inside(address):
        host = urlsplit(address.removeprefix("s3:")).netloc
        namespace = host.partition(":")[0].split(".")[1]
        first = [f"kubectl -n {namespace} port-forward service/minio 9000:9000 &"]
        address = address.replace(host, FORWARDED)
    region = repository.get("AWS_DEFAULT_REGION", "us-east-1")
    lines = [
        *first,
        f"export RESTIC_REPOSITORY={address} AWS_DEFAULT_REGION={region} "
        "AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… RESTIC_PASSWORD=…",
        "restic snapshots --no-lock",
        "restic restore latest --no-lock --target ./restored",
    ]
    opens = passphrase or "wherever PULUMI_CONFIG_PASSPHRASE comes from"
    return "\n".join(
        (
            f"Backups of lab {lab}: keep this sheet away from the lab, in a safe.",
            "It holds secrets: who has it can read every backup, and delete them.",
            "",
            f"Repository         {repository['RESTIC_REPOSITORY']}",
            f"Key id             {repository['AWS_ACCESS_KEY_ID']}",
            f"Key                {repository['AWS_SECRET_ACCESS_KEY']}",
            f"restic's password  {repository['RESTIC_PASSWORD']}",
            "",
            "To read a backup with restic alone, on any machine:",
            *(f"  {line}" for line in lines),
            "",
            f"The backup holds {settings} too. The secrets in it stay encrypted; what",
            f"opens them is not in the backup, keep it with this sheet: {opens}",
        )
    )
