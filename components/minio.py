"""MinIO: one server, one volume, and a root credential that only provisioning uses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from components import objects
from components.pods import (
    SCRATCH,
    env,
    http_probe,
    pod,
    resources,
    scratch,
    secret_key,
    volume_claim,
)

NAME = "minio"
PORT = 9000
ENDPOINT = f"http://{NAME}:{PORT}"
"""Address inside the lab's namespace."""
REGION = "us-east-1"
ROOT_SECRET = "minio-root"
USER = 1000
SELECTOR = {"app": NAME}


def root_secret(user: Any, password: Any) -> dict[str, Any]:
    """The Secret with the root credential."""
    data = {"MINIO_ROOT_USER": user, "MINIO_ROOT_PASSWORD": password}
    return objects.secret(ROOT_SECRET, data)


def metrics_token(user: str, password: str, *, end: int) -> str:
    """A token with which MinIO shows its measurements, up to the Unix time `end`.

    What `mc admin prometheus generate` makes: a JWT signed with the root credential,
    which MinIO takes for its measurements alone.
    """
    parts = (
        {"alg": "HS512", "typ": "JWT"},
        {"exp": end, "iss": "prometheus", "sub": user},
    )
    text = ".".join(_base64(json.dumps(part).encode()) for part in parts)
    signed = hmac.new(password.encode(), text.encode(), hashlib.sha512).digest()
    return f"{text}.{_base64(signed)}"


def volume(capacity: str, storage_class: str | None) -> dict[str, Any]:
    """The claim of the volume with all objects."""
    return volume_claim(f"{NAME}-data", capacity, storage_class)


def service() -> dict[str, Any]:
    """The Service of the S3 API."""
    return objects.service(NAME, SELECTOR, {"name": "s3", "port": PORT})


def server(image: str, claim: Any, fingerprint: Any) -> dict[str, Any]:
    """The server; `fingerprint` changes with the root credential, and restarts it."""
    container = {
        "name": NAME,
        "image": image,
        "command": ["/usr/bin/minio"],
        "args": ["server", "/data", "--address", f":{PORT}"],
        "env": env(
            HOME="/tmp",
            MINIO_ROOT_USER=secret_key(ROOT_SECRET, "MINIO_ROOT_USER"),
            MINIO_ROOT_PASSWORD=secret_key(ROOT_SECRET, "MINIO_ROOT_PASSWORD"),
            MINIO_BROWSER="off",
            MINIO_UPDATE="off",
            MINIO_SITE_REGION=REGION,
            # Collect garbage before the kernel ends the process.
            GOMEMLIMIT="850MiB",
        ),
        "ports": [{"name": "s3", "containerPort": PORT}],
        "startupProbe": http_probe("/minio/health/ready", PORT, every=1, failures=180),
        "readinessProbe": http_probe("/minio/health/ready", PORT, every=5),
        "livenessProbe": http_probe("/minio/health/live", PORT, every=10),
        "resources": resources(cpu="50m", memory="160Mi", most_cpu="2", most="1Gi"),
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": SCRATCH, "mountPath": "/tmp"},
        ],
    }
    data = {"name": "data", "persistentVolumeClaim": {"claimName": claim}}
    return objects.stateful_set(
        NAME,
        SELECTOR,
        pod(USER, [container], volumes=[data, scratch()]),
        annotations={"labfactory.io/credentials": fingerprint},
    )


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
