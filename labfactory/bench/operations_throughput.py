"""A first, whole backup by the keeper, and by the bare tools in a pod like its own.

Each goes to a repository and a folder that nobody used before, so both copy everything.
The keeper's seconds are its own: no start of a pod is in them.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from labfactory.backups import jobs
from labfactory.backups.cluster import Cluster
from labfactory.backups.errands import BACKUP, REPOSITORY, Order, manifest
from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import CONTEXT, NAME, Ground
from labfactory.bench.kubectl import Kubectl
from labfactory.bench.operations_lab import promising
from labfactory.errors import LabError
from labfactory.jobs import Jobs

OBJECTS = 1200
MIB = 2**20
BUCKET, FOLDER = "datasets", "bench"
AT_ONCE = 8
STAGING = "/staging"
LONGEST = 1800.0
BARE = """
export PATH="/usr/lib/postgresql/15/bin:$PATH" RCLONE_CONFIG=/dev/null
export RCLONE_CONFIG_STORE_TYPE=s3 RCLONE_CONFIG_STORE_PROVIDER=Minio
export RCLONE_CONFIG_STORE_ENDPOINT="$STORE_ENDPOINT"
export RCLONE_CONFIG_STORE_REGION="$STORE_REGION"
export RCLONE_CONFIG_STORE_ACCESS_KEY_ID="$STORE_KEY_ID"
export RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY="$STORE_SECRET"
export RESTIC_CACHE_DIR="$STAGING/cache" TMPDIR="$STAGING/tmp"
mkdir -p "$STAGING/copy/objects" "$STAGING/tmp"
date '+began %s.%N'
restic init --quiet
pg_dump -Fc -Z0 --file="$STAGING/copy/database.dump" \\
  "postgresql://${DATABASE_URI#*://}"
IFS=,
for bucket in $BUCKETS; do
  rclone sync "store:$bucket" "$STAGING/copy/objects/$bucket" \\
    --use-server-modtime --fast-list --transfers=8 --checkers=16 --retries=2
done
cd "$STAGING/copy"
restic backup . --quiet
date '+ended %s.%N'
"""
"""The tools as the keeper calls them, and nothing besides."""
SWEEP = """
export RCLONE_CONFIG=/dev/null
export RCLONE_CONFIG_COPIES_TYPE=s3 RCLONE_CONFIG_COPIES_PROVIDER=Minio
export RCLONE_CONFIG_COPIES_ENDPOINT="$COPIES_ENDPOINT"
export RCLONE_CONFIG_COPIES_ENV_AUTH=true
rclone delete "copies:$COPIES_PATH"
rm -rf "$STAGING"
sync
"""
"""Takes one backup away; the next one finds a disk at rest."""


@dataclass(frozen=True)
class Place:
    """Where one backup goes, and nothing else."""

    repository: str
    staging: str

    @property
    def told(self) -> dict[str, str]:
        """What a pod is told of it; over what its Secret says of the repository."""
        address = urlsplit(self.repository.removeprefix("s3:"))
        return {
            "RESTIC_REPOSITORY": self.repository,
            "STAGING": self.staging,
            "COPIES_ENDPOINT": f"{address.scheme}://{address.netloc}",
            "COPIES_PATH": address.path.strip("/"),
        }


def place(repository: str, number: int) -> Place:
    """The place of so manieth backup, beside the lab's own `repository`."""
    return Place(f"{repository}-bench-{number}", f"{STAGING}/bench-{number}")


def measure(ground: Ground, runs: int) -> list[Figure]:
    """Back up the lab, with more objects in it, in turns."""
    promising(ground)
    kubectl = Kubectl()
    repository = _secret(kubectl, REPOSITORY)["RESTIC_REPOSITORY"]
    schedule = kubectl.get("-n", NAME, "cronjob", BACKUP.verb)
    kept: list[Mapping[str, Any]] = []
    bare: list[float] = []
    with filled(ground, kubectl):
        for run in range(runs):
            there = place(repository, 2 * run)
            kept.append(_by_keeper(ground, there))
            _in_pod(ground, by_shell(schedule, "bench-sweep", SWEEP, there))
            there = place(repository, 2 * run + 1)
            said = _in_pod(ground, by_shell(schedule, "bench-bare", BARE, there))
            bare.append(seconds(said))
            _in_pod(ground, by_shell(schedule, "bench-sweep", SWEEP, there))
    return [compared(kept, bare)]


def compared(kept: Sequence[Mapping[str, Any]], bare: Sequence[float]) -> Figure:
    """The figure of the keeper's entries, and of the bare tools' seconds in turns."""
    sizes = [each["bytes"] / MIB for each in kept]
    return Figure(
        f"backup of {median(sizes):.0f} MiB, the first one, whole",
        "pg_dump, rclone, restic init and restic backup in the same pod",
        "MiB/s",
        Aim(0.9, at_least=True),
        tuple(size / each["seconds"] for size, each in zip(sizes, kept, strict=True)),
        tuple(size / taken for size, taken in zip(sizes, bare, strict=True)),
        note=steps(kept),
    )


def steps(kept: Sequence[Mapping[str, Any]]) -> str:
    """What the keeper's seconds went to, the longest step first."""
    names = {name for each in kept for name in each.get("steps") or {}}
    found = {
        name: median(each.get("steps", {}).get(name, 0.0) for each in kept)
        for name in names
    }
    longest = sorted(found.items(), key=lambda step: (-step[1], step[0]))
    return ", ".join(f"{name} {taken:.1f} s" for name, taken in longest)


def seconds(said: str) -> float:
    """Seconds between the two times in what the bare tools' pod said.

    Raises LabError.
    """
    found = dict(re.findall(r"^(began|ended) ([0-9.]+)$", said, re.MULTILINE))
    if found.keys() != {"began", "ended"}:
        raise LabError(
            "lab bench: the pod with the bare tools does not say when it began and "
            f"ended: {said.strip()[-500:]}"
        )
    return float(found["ended"]) - float(found["began"])


def by_shell(
    schedule: Mapping[str, Any], name: str, script: str, there: Place
) -> dict[str, Any]:
    """The Job of a script in the pod that a backup has: its image, limits and volumes.

    `schedule` is the CronJob of backups.
    """
    order = Order(BACKUP, NAME, NAME, name, environment=there.told)
    made = manifest(schedule, order)
    # Without the owner: it must not count as a backup of the lab.
    made["metadata"] = {"name": name, "labels": made["metadata"]["labels"]}
    made["spec"]["backoffLimit"] = 0
    [container] = made["spec"]["template"]["spec"]["containers"]
    container["command"] = ["/bin/sh", "-euc"]
    container["args"] = [script]
    return made


@contextmanager
def filled(ground: Ground, kubectl: Kubectl) -> Iterator[None]:
    """Random objects in the lab's store, for as long as the block lasts."""
    import boto3
    from botocore.config import Config

    keys = _secret(kubectl, "minio-root")
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{ground.cluster_ip(NAME, 'minio')}:9000",
        region_name="us-east-1",
        aws_access_key_id=keys["MINIO_ROOT_USER"],
        aws_secret_access_key=keys["MINIO_ROOT_PASSWORD"],
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=AT_ONCE),
    )
    names = [f"{FOLDER}/{number:04}" for number in range(OBJECTS)]

    def put(name: str) -> str:
        body = os.urandom(MIB)
        answer = client.put_object(Bucket=BUCKET, Key=name, Body=body)
        return str(answer.get("VersionId", "null"))

    with closing(client), ThreadPoolExecutor(AT_ONCE) as pool:
        with ground.progress.step(f"{OBJECTS} objects of 1 MiB in the store"):
            versions = dict(zip(names, pool.map(put, names), strict=True))
        yield
        for name, version in versions.items():
            client.delete_object(Bucket=BUCKET, Key=name, VersionId=version)


def _by_keeper(ground: Ground, there: Place) -> Mapping[str, Any]:
    settings = ground.stack.settings
    title = "back up by the keeper"
    order = Order(BACKUP, NAME, settings.name, title, 60, environment=there.told)
    with Cluster(CONTEXT) as cluster:
        return jobs.carried_out(order, cluster, settings, ground.progress) or {}


def _in_pod(ground: Ground, job: dict[str, Any]) -> str:
    """Run a Job to its end; return what its pod said. One that fails stays there."""
    name = job["metadata"]["name"]
    runner = Jobs(CONTEXT, NAME)
    with ground.progress.step(f"job {name}", estimate=60) as step:
        runner.start(job, again=True)
        said = runner.follow(name, step, seconds=LONGEST)
    Kubectl().run("-n", NAME, "delete", "job", name)
    return "\n".join(said)


def _secret(kubectl: Kubectl, name: str) -> dict[str, str]:
    data = kubectl.get("-n", NAME, "secret", name)["data"]
    return {key: base64.b64decode(each).decode() for key, each in data.items()}
