"""Planted secrets: none of the lab's may be where people look, and a leak is caught."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from labfactory.bench.figure import Aim, Figure
from labfactory.bench.ground import NAME, Ground
from labfactory.bench.kubectl import Kubectl
from labfactory.errors import LabError
from labfactory.leaks import SHORTEST, Leak, forms, scan

Source = tuple[str, bytes]
REPOSITORY = "keeper-repository"
PUBLIC = re.compile(
    r"endpoint|region|bucket|repository$|namespace|\.crt$|^lab$", re.IGNORECASE
)
"""Keys of Secrets whose values are no secrets: addresses, names, certificates."""
PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+(\S+)")
URI = re.compile(r"://[^:/@\s]+:([^@\s]+)@")
LONGEST = 4096
"""Letters of a value above which it is a document, whose secrets are values too."""
RECORD = "lab-record"
"""Secret with the settings and the state; its secrets are encrypted in it."""


def measure(ground: Ground, runs: int) -> list[Figure]:
    """Look for every secret of the lab, and for one that is planted; once.

    The lab has to be up, with a backup. Raises LabError when there is nothing to look
    at in one of the kinds of places.
    """
    ground.lab()
    kubectl = Kubectl()
    values = once(of_stack(ground) | of_cluster(kubectl.get("secrets", "-A")))
    places = collected(ground, kubectl)
    with ground.progress.step("secrets in state, previews, logs, objects, backups"):
        return looked(places, values, say=ground.progress.say)


def looked(
    places: Mapping[str, Callable[[], Iterable[Source]]],
    values: Mapping[str, str],
    *,
    say: Callable[[str], None],
) -> list[Figure]:
    """How many secrets were found, and how many of those planted in memory.

    Raises LabError when a kind of place, by its name, has nothing to look at.
    """
    canary = secrets.token_urlsafe(24) + "/+ä"
    leaks: list[Leak] = []
    caught = planted = 0
    counts: Counter[str] = Counter()
    for kind, sources in places.items():
        seen = Seen(sources())
        leaks += scan(values, seen)
        if not seen.count:
            raise LabError(
                f"lab bench: {kind}: nothing to look for secrets in; let the lab run, "
                "with `backups` in its settings and one backup made"
            )
        counts += Counter(sources=seen.count, bytes=seen.bytes)
        for form, spellings in forms("canary", canary).items():
            for text in spellings:
                found = scan({"canary": canary}, [seeded(seen.first, text)])
                planted += 1
                caught += any(leak.form == form for leak in found)
    for leak in leaks:
        say(f"  secret {leak.name} is in {leak.where}, as {leak.form}")
    note = (
        f"{len(values)} secrets in {counts['sources']} places, "
        f"{counts['bytes'] / 2**20:.0f} MiB"
    )
    return [
        Figure(
            "secrets found in state, previews, logs, objects, backups",
            "",
            "",
            Aim(0, of="value"),
            (float(len(leaks)),),
            note=note,
        ),
        Figure(
            "secrets planted in each of them that are caught",
            "",
            "%",
            Aim(100, of="value", at_least=True),
            (100 * caught / planted,),
            note=f"{caught} of {planted}",
        ),
    ]


class Seen:
    """Passes sources on, counts them, and keeps the first that has something in it."""

    def __init__(self, sources: Iterable[Source]) -> None:
        """Pass on `sources`, each as it is asked for."""
        self._sources = sources
        self.first: Source = "", b""
        self.count = self.bytes = 0

    def __iter__(self) -> Iterator[Source]:
        """Each source; an empty one does not count."""
        for where, content in self._sources:
            if content:
                self.first = self.first if self.count else (where, content)
                self.count += 1
                self.bytes += len(content)
            yield where, content


def seeded(source: Source, text: bytes) -> Source:
    """The source with `text` planted in its middle."""
    where, content = source
    middle = len(content) // 2
    return where, content[:middle] + text + content[middle:]


def once(values: Mapping[str, str]) -> dict[str, str]:
    """The values without those that are there under another name already."""
    names: dict[str, str] = {}
    for name, value in values.items():
        names.setdefault(value, name)
    return {name: value for value, name in names.items()}


def of_stack(ground: Ground) -> dict[str, str]:
    """The stack's secrets in the open, by name; for looking for them, nothing else."""
    shown = ground.pulumi("config", "--show-secrets", "--json", "--stack", NAME)
    return {
        f"stack {key}": entry["value"]
        for key, entry in json.loads(shown).items()
        if entry.get("secret") and len(entry.get("value", "")) >= SHORTEST
    }


def of_cluster(listed: Mapping[str, Any]) -> dict[str, str]:
    """The values of Secrets that are secrets, by name: passwords, tokens, keys.

    Of a URI it is the password too, of a private key a line that is in every layout.
    """
    found: dict[str, str] = {}
    for secret in listed["items"]:
        metadata = secret["metadata"]
        if metadata["name"] == RECORD:
            continue
        for key, encoded in (secret.get("data") or {}).items():
            if PUBLIC.search(key):
                continue
            name = f"{metadata['namespace']}/{metadata['name']}/{key}"
            value = base64.b64decode(encoded).decode(errors="replace")
            found |= {
                name: value,
                **{f"{name} (password)": each for each in URI.findall(value)},
                **{f"{name} (line)": each for each in PEM.findall(value)},
            }
    return {
        name: value
        for name, value in found.items()
        if SHORTEST <= len(value) <= LONGEST
    }


def collected(
    ground: Ground, kubectl: Kubectl
) -> dict[str, Callable[[], Iterable[Source]]]:
    """Where secrets are looked for, by kind; each is read when it is asked for."""
    return {
        "state": lambda: [_pulumi(ground, "stack", "export")],
        "previews": lambda: [
            _pulumi(ground, "preview", "--json", "--show-sames"),
            _pulumi(ground, "preview", "--diff", "--show-sames"),
        ],
        "logs": lambda: logs(kubectl),
        "objects": lambda: objects(kubectl),
        "backups": lambda: backups(ground, kubectl),
    }


def logs(kubectl: Kubectl) -> Iterator[Source]:
    """What every container of every pod has printed, and the one before it."""
    for pod in kubectl.get("pods", "-A")["items"]:
        metadata, status = pod["metadata"], pod.get("status") or {}
        where = metadata["namespace"], metadata["name"]
        for kind in ("initContainerStatuses", "containerStatuses"):
            for container in status.get(kind) or ():
                asked = ("-n", where[0], "logs", where[1], "-c", container["name"])
                name = f"log of {'/'.join(where)} {container['name']}"
                if "waiting" not in (container.get("state") or {}):
                    yield name, kubectl.run(*asked).encode()
                if container.get("restartCount"):
                    yield f"{name} before", _previous(kubectl, asked)


def objects(kubectl: Kubectl) -> Iterator[Source]:
    """Every object of every kind but Secrets, as JSON."""
    kinds = kubectl.run("api-resources", "--verbs=list", "-o", "name").split()
    for kind in kinds:
        if kind != "secrets":
            for each in kubectl.get(kind, "-A", "--show-managed-fields")["items"]:
                metadata = each["metadata"]
                where = f"{kind} {metadata.get('namespace', '')}/{metadata['name']}"
                yield where, json.dumps(each, ensure_ascii=False).encode()


def backups(ground: Ground, kubectl: Kubectl) -> Iterator[Source]:
    """Every object in the second store, as it lies there; none without backups."""
    import boto3
    from botocore.config import Config

    if ground.stack.settings.backups is None:
        return
    secret = kubectl.get("-n", NAME, "secret", REPOSITORY)
    keys = {k: base64.b64decode(v).decode() for k, v in secret["data"].items()}
    address = urlsplit(keys["RESTIC_REPOSITORY"].removeprefix("s3:"))
    service, namespace = str(address.hostname).split(".")[:2]
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{ground.cluster_ip(namespace, service)}:{address.port}",
        region_name=keys["AWS_DEFAULT_REGION"],
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )
    bucket = address.path.strip("/").partition("/")[0]
    with closing(client):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for each in page.get("Contents", ()):
                body = client.get_object(Bucket=bucket, Key=each["Key"])["Body"]
                with closing(body):
                    yield f"backup {each['Key']}", body.read()


def _pulumi(ground: Ground, *words: str) -> Source:
    shown = ground.pulumi(*words, "--stack", NAME)
    return f"pulumi {' '.join(words)}", shown.encode()


def _previous(kubectl: Kubectl, asked: tuple[str, ...]) -> bytes:
    try:
        return kubectl.run(*asked, "--previous").encode()
    except LabError:
        return b""  # the node has thrown it away
