"""An endpoint in the cluster that does as it is told, and keeps the alerts it gets.

It plays the part of somebody else's model, which can be made to fail or to be slow at
a known moment, and of whoever hears of alerts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from kubernetes import client
from tenacity import (
    retry,
    retry_if_exception_type,
    stop_after_delay,
    wait_fixed,
)

from labfactory import environment

NAME = "partner"
NAMESPACE = "default"
HOST = f"{NAME}.{NAMESPACE}.svc"
ALERTS = f"http://{HOST}/alerts"
PROGRAM = """
import json, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

behaviour, alerts = {}, []

class Partner(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        sent = json.loads(self.rfile.read(int(self.headers["content-length"])) or "{}")
        kind, _, name = self.path.strip("/").partition("/")
        if kind == "alerts":
            alerts.extend(sent.get("alerts", [sent]))
            return self.reply(200, {})
        if kind == "behave":
            behaviour[name] = sent
            return self.reply(200, {})
        told = behaviour.get(name, {})
        time.sleep(told.get("seconds", 0))
        rows = sent.get("rows", [])
        value = told.get("value", 1.0)
        self.reply(told.get("status", 200), {"predictions": [value for _ in rows]})

    def do_GET(self):
        self.reply(200, alerts)

    def reply(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass

class Server(ThreadingHTTPServer):
    request_queue_size = 128

Server(("", 8080), Partner).serve_forever()
"""


@dataclass(frozen=True)
class Partner:
    """The endpoint, from outside of the cluster."""

    url: str

    def behave(self, name: str, **told: Any) -> None:
        """Answer `score/NAME` from now on with `status`, `value`, after `seconds`."""
        httpx.post(
            f"{self.url}/behave/{name}", json=told, timeout=10, trust_env=False
        ).raise_for_status()

    def alerts(self) -> list[dict[str, Any]]:
        """Every alert that has come, in the form of Alertmanager's webhook."""
        found: list[dict[str, Any]] = httpx.get(
            f"{self.url}/alerts", timeout=10, trust_env=False
        ).json()
        return found


def variant(name: str) -> dict[str, Any]:
    """Settings of a variant that the partner answers as `score/NAME`."""
    return {
        "external": {
            "url": f"http://{HOST}/score/{name}",
            "request": "{rows: rows}",
            "response": "predictions",
            "retries": 0,
            "cost_per_call": 0.0,
        }
    }


@contextmanager
def partner(context: str, image: str) -> Iterator[Partner]:
    """The endpoint in the cluster `context`, for as long as the block lasts.

    `image` has Python.
    """
    with environment.kubernetes(context) as api:
        core = client.CoreV1Api(api)
        container = {
            "name": NAME,
            "image": image,
            "command": ["python3", "-c", PROGRAM],
            "resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "128Mi"}},
        }
        named = {"metadata": {"name": NAME, "labels": {"app": NAME}}}
        port = {"port": 80, "targetPort": 8080}
        service = {"selector": {"app": NAME}, "ports": [port]}
        core.create_namespaced_pod(
            NAMESPACE, {**named, "spec": {"containers": [container]}}
        )
        made = core.create_namespaced_service(NAMESPACE, {**named, "spec": service})
        found = Partner(f"http://{made.spec.cluster_ip}")
        try:
            _await(found)
            yield found
        finally:
            core.delete_namespaced_service(NAME, NAMESPACE)
            core.delete_namespaced_pod(NAME, NAMESPACE, grace_period_seconds=0)


@retry(
    retry=retry_if_exception_type(httpx.HTTPError),
    stop=stop_after_delay(120),
    wait=wait_fixed(0.5),
    reraise=True,
)
def _await(found: Partner) -> None:
    found.alerts()
