"""The values that settings have: names, sizes, addresses, and how each is written.

Every message here is a reason and a remedy, and never contains the rejected value.
"""

from __future__ import annotations

import datetime
import re
from contextlib import suppress
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StrictFloat

from stacks.checked import AddressSpelling, ExpressionSpelling, ScheduleSpelling
from stacks.spelling import Spelling, mistake


def _size_meant(text: str) -> str | None:
    """`20Gi` for `20GB`, `20 gib` or `20`; sizes are no secrets."""
    found = re.fullmatch(r"([1-9]\d{0,5}) ?([kmgt]?)i?b?", text.strip(), re.I)
    return f"{found[1]}{(found[2] or 'G').title()}i" if found else None


def _cpu_meant(text: str) -> str | None:
    """`500m` for `0.5`."""
    found = re.fullmatch(r"\d{1,3}(\.\d{1,3})?", text.strip())
    thousandths = round(float(found[0]) * 1000) if found else 0
    return f"{thousandths}m" if thousandths else None


def _named_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise mistake("has the same name twice; keep one of the two")
    return names


_LABEL = r"[a-z]([a-z0-9-]*[a-z0-9])?"
_LABEL_HOW = "lower-case letters, digits and hyphens, beginning with a letter"
_HOST = r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?"
_S3_BUCKET = r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"

Name = Annotated[str, Spelling("a name", _LABEL_HOW, _LABEL, longest=40)]
LabName = Annotated[
    str,
    Spelling(
        "a lab's name",
        _LABEL_HOW,
        _LABEL,
        longest=30,
        why="it is the lab's namespace and part of its host names",
        taken=(
            "default",
            "kserve",
            "kube-node-lease",
            "kube-public",
            "kube-system",
            "local-path-storage",
            "projectcontour",
        ),
    ),
]
ClusterName = Annotated[
    str, Spelling("a cluster's name", _LABEL_HOW, _LABEL, longest=30)
]
# A pod is named RELEASE-VARIANT-predictor-HASH-RANDOM: 24 + 1 + 10 + 10 + 11 + 6 = 62.
ReleaseName = Annotated[
    str,
    Spelling(
        "a release's name",
        _LABEL_HOW,
        _LABEL,
        longest=24,
        why="the names of its pods are made from it and may have 63 characters",
        taken=("feedback", "minio", "mlflow", "postgres"),
    ),
]
# Without hyphens `<release>-<variant>` can be read in one way only.
VariantName = Annotated[
    str,
    Spelling(
        "a variant's name",
        "lower-case letters and digits, beginning with a letter",
        r"[a-z][a-z0-9]*",
        longest=10,
        why="the names of its pods are made from it and may have 63 characters",
    ),
]
Bucket = Annotated[
    str,
    Spelling(
        "a bucket's name",
        "3 to 63 lower-case letters, digits and hyphens",
        _S3_BUCKET,
        longest=63,
        taken=("minio",),
    ),
]
Buckets = Annotated[
    tuple[Bucket, ...], Field(min_length=1), AfterValidator(_named_once)
]
Size = Annotated[
    str,
    Spelling(
        "a size",
        "a whole number above zero with Mi, Gi or Ti, such as 20Gi",
        r"[1-9]\d*(Ki|Mi|Gi|Ti)",
        guess=_size_meant,
    ),
]
Cpu = Annotated[
    str,
    Spelling(
        "a share of processors",
        "thousandths of a core above zero, such as 500m",
        r"[1-9]\d*m",
        guess=_cpu_meant,
    ),
]
Digest = Annotated[
    str,
    Spelling(
        "a digest",
        "sha256: and the 64 lower-case hexadecimal digits of the artifact's digest",
        r"sha256:[0-9a-f]{64}",
    ),
]
Artifact = Annotated[
    str,
    Spelling(
        "an artifact's address",
        "s3://BUCKET/FOLDER, where the model lies, without a slash at the end",
        rf"s3://{_S3_BUCKET}(/[A-Za-z0-9!_.*'()=+-]+)+",
    ),
]
Context = Annotated[
    str,
    Spelling(
        "a context",
        "a name that `kubectl config get-contexts` lists",
        r"\S(.*\S)?",
        longest=253,
    ),
]
Registry = Annotated[
    str,
    Spelling(
        "a registry's address",
        "a host and a path without https://, such as registry.example.com/labfactory",
        rf"{_HOST}(/[a-z0-9._-]+)*",
    ),
]
ImageReference = Annotated[
    str,
    Spelling(
        "a pinned image",
        "HOST/NAME:TAG with a tag other than latest, or HOST/NAME@sha256:DIGEST",
        rf"{_HOST}(/[a-z0-9._-]+)+"
        r"(:(?!latest$)[\w][\w.-]{0,127}|(:[\w][\w.-]{0,127})?@sha256:[0-9a-f]{64})",
    ),
]
StorageClass = Annotated[
    str,
    Spelling(
        "a storage class",
        "a name that `kubectl get storageclass` lists",
        r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?",
        longest=253,
    ),
]
Gateway = Annotated[
    str,
    Spelling(
        "a gateway",
        "its namespace and its name, such as projectcontour/lab",
        r"[a-z0-9]([a-z0-9-]*[a-z0-9])?/[a-z0-9]([a-z0-9.-]*[a-z0-9])?",
        longest=253,
    ),
]
Region = Annotated[
    str,
    Spelling(
        "a region",
        "lower-case letters, digits and hyphens, such as eu-west-1",
        r"[a-z0-9]([a-z0-9-]*[a-z0-9])?",
        longest=63,
    ),
]


HeaderName = Annotated[
    str,
    Spelling(
        "a header's name",
        "lower-case letters, digits and hyphens, such as x-lab-bucket",
        r"[a-z][a-z0-9-]*",
        longest=64,
        taken=("cookie", "host", "x-lab-log", "x-request-id"),
    ),
]
Cookie = Annotated[
    str,
    Spelling(
        "a cookie's name",
        "letters, digits, hyphens and _",
        r"[A-Za-z0-9_-]+",
        longest=64,
    ),
]
MatchValue = Annotated[
    str,
    Spelling(
        "a value to match",
        "letters, digits, hyphens, points and _",
        r"[A-Za-z0-9_.-]+",
        longest=64,
    ),
]
HeaderLine = Annotated[
    str,
    Spelling(
        "a header with a key",
        'NAME: TEXT with {key} in it, such as "Authorization: Bearer {key}"',
        r"[A-Za-z][A-Za-z0-9-]*: [ -z|~]*\{key\}[ -z|~]*",
        longest=200,
    ),
]
Expression = Annotated[
    str,
    ExpressionSpelling(
        "an expression", "a JMESPath expression", r"[\s\S]+", longest=2000
    ),
]
Reason = Annotated[
    str,
    Spelling(
        "a reason",
        "one line of text, in quotes, that says why",
        r"\S([^\x00-\x1f\x7f]*\S)?",
        longest=300,
    ),
]
ObjectAddress = Annotated[
    str,
    Spelling(
        "an address in the object store",
        "s3://BUCKET/PATH, without a slash at the end",
        rf"s3://{_S3_BUCKET}(/[A-Za-z0-9!_.*'()=+-]+)+",
    ),
]
Certificate = Annotated[
    str,
    Spelling(
        "a certificate",
        "its PEM text, from -----BEGIN CERTIFICATE----- on",
        r"(-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+"
        r"-----END CERTIFICATE-----\n?)+",
    ),
]
_SPAN = "[0-9]{1,2}(-[0-9]{1,2})?"
_CRON = rf"(\*|{_SPAN}(,{_SPAN})*)(/[0-9]{{1,2}})?"
Schedule = Annotated[
    str,
    ScheduleSpelling(
        "a schedule",
        'five fields of cron, such as "0 3 * * *" for three at night',
        rf"{_CRON}( {_CRON}){{4}}",
    ),
]


Endpoint = Annotated[
    str,
    AddressSpelling(
        "an endpoint",
        "https://HOST or https://HOST:PORT without a path",
        rf"https?://{_HOST}",
        secret="set the keys with "
        "`pulumi config set --secret labfactory:s3-tracking-key-id` and so on",
    ),
]
_URL = (
    rf"(https://{_HOST}|http://[a-z0-9.-]+\.svc(\.cluster\.local)?(:[0-9]{{1,5}})?)"
    r"(/[A-Za-z0-9_.~!$&'()*+,;=:%/-]*)?(\?[A-Za-z0-9_.~!$&'()*+,;=:%/?-]*)?"
)
Url = Annotated[
    str,
    AddressSpelling(
        "an endpoint's address",
        "https://HOST/PATH, or http://SERVICE.NAMESPACE.svc/PATH inside the cluster",
        _URL,
        longest=500,
        secret="set the key with `pulumi config set --secret labfactory:external-NAME`",
    ),
]

AlertUrl = Annotated[
    str,
    AddressSpelling(
        "an address for alerts",
        "https://HOST/PATH, or http://SERVICE.NAMESPACE.svc/PATH inside the cluster",
        _URL,
        longest=500,
        secret="set it with `pulumi config set --secret labfactory:alerts-NAME` and "
        "leave `url` out",
    ),
]
HostPort = Annotated[
    str,
    Spelling(
        "a server",
        "HOST:PORT, such as smtp.example.com:587",
        r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?:[0-9]{1,5}",
        longest=259,
    ),
]
MailAddress = Annotated[
    str,
    Spelling(
        "a mail address",
        "NAME@HOST",
        r"[A-Za-z0-9._%+-]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?",
        longest=254,
    ),
]
Channel = Annotated[
    str,
    Spelling(
        "a channel",
        'a name in quotes, such as "#lab-alerts"',
        r"[#@]?[\w.-]+",
        longest=80,
    ),
]
Words = Annotated[
    str,
    Spelling(
        "a text",
        "one line without control characters",
        r"\S([^\x00-\x1f\x7f]*\S)?",
        longest=300,
    ),
]

Currency = Annotated[
    str,
    Spelling("a currency", "its three capital letters, such as EUR", r"[A-Z]{3}"),
]


def _positive(value: float) -> float:
    if value == 0:
        raise mistake(
            "is zero, with which nothing could run; write what may be spent, or leave "
            "`cost` out for no limit"
        )
    return value


Money = Annotated[
    StrictFloat,
    Field(ge=0, le=1e9, allow_inf_nan=False),
    AfterValidator(_positive),
]
ANSWER_TIMES = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds that the gateway counts answers by."""


def _answer_time(value: float) -> float:
    if value not in ANSWER_TIMES:
        known = ", ".join(f"{each:g}" for each in ANSWER_TIMES)
        raise mistake(f"is none of the times that the gateway counts by; write {known}")
    return value


AnswerTime = Annotated[StrictFloat, AfterValidator(_answer_time)]
Price = Annotated[StrictFloat, Field(ge=0, le=1e6, allow_inf_nan=False)]

# What Pulumi writes instead of an unquoted date when it rewrites a stack file.
_REWRITTEN = " 00:00:00 +0000 UTC"


def _date(value: object) -> datetime.date:
    """Accept a day as people or Pulumi write it; no numbers of seconds."""
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value
    if isinstance(value, str):
        day = value.removesuffix(_REWRITTEN)
        if re.fullmatch(r"\d{4}-\d\d-\d\d", day):
            with suppress(ValueError):
                return datetime.date.fromisoformat(day)
    raise mistake('is not a date; write year-month-day, such as "2026-11-21"')


Date = Annotated[datetime.date, BeforeValidator(_date)]
