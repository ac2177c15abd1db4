"""A Prometheus, an Alertmanager and a Kubernetes for the guard's tests, all small."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import httpx2
from lightkube import Client, KubeConfig
from lightkube.config.models import Cluster, User

from model_templates.routes import http_route
from stacks.schema import ReleaseConfig
from tests.harness import variant

NAMESPACE = "lab"
MATCHER = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')
ENVOY = "envoy_cluster_upstream_rq"


class Partner:
    """An HTTP server with a bad day: it hangs, fails or talks nonsense when told."""

    def __init__(self) -> None:
        self.status = 200
        self.seconds = 0.0
        self.body: bytes | None = None
        self.got: list[Any] = []
        self.series: dict[tuple[tuple[str, str], ...], list[tuple[float, Any]]] = {}
        self.url = ""

    def sample(self, at: float, value: float | str, /, **labels: str) -> None:
        """Have measured a series; the metric's name is `__name__`."""
        self.series.setdefault(tuple(sorted(labels.items())), []).append((at, value))

    def answer(self, asked: str) -> bytes:
        if self.body is not None:
            return self.body
        query = parse_qs(asked).get("query", [""])[0]
        result = [
            {"metric": dict(key), "values": [[at, str(v)] for at, v in samples[-6:]]}
            for key, samples in self.series.items()
            if _selects(query, dict(key))
        ]
        return json.dumps({"status": "success", "data": {"result": result}}).encode()


def _selects(query: str, labels: Mapping[str, str]) -> bool:
    metric = re.match(r"(?:[^{]*[( ])?(\w+)\{", query)
    if metric and labels["__name__"] != metric[1]:
        return False
    for name, sign, value in MATCHER.findall(query):
        found = labels.get(name, "")
        fits = re.fullmatch(value, found) if sign == "=~" else found == value
        if bool(fits) == (sign == "!="):
            return False
    return True


@contextmanager
def served(partner: Partner) -> Iterator[Partner]:
    """Let a partner answer on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"])).decode()
            partner.got.append(json.loads(sent) if sent[:1] in "[{" else sent)
            body = partner.answer(sent)
            self.send_response(partner.status)
            self.end_headers()
            try:
                for byte in body[:3]:
                    self.wfile.write(bytes([byte]))
                    time.sleep(partner.seconds)
                self.wfile.write(body[3:])
            except OSError:
                pass  # nobody waits for it any more

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        partner.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield partner
        server.shutdown()


class Kubernetes:
    """Objects with versions, behind the wire that the real client speaks."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.writes: list[tuple[str, str]] = []
        self.is_away = False
        self.refused: dict[str, int] = {}
        """Status by a part of the path of writes that are refused."""
        self.meanwhile: list[Any] = []
        """Called before the next writes, one each: what somebody else does."""
        self._version = 0

    def client(self) -> Client:
        return Client(
            KubeConfig.from_one(
                cluster=Cluster("http://kubernetes", insecure=True), user=User()
            ),
            NAMESPACE,
            transport=httpx2.MockTransport(self._answer),
            lazy=False,
            trust_env=False,
        )

    def put(self, path: str, found: dict[str, Any]) -> None:
        """Have an object at `GROUP/VERSION/PLURAL/NAME`."""
        self._version += 1
        metadata = {**found["metadata"], "resourceVersion": str(self._version)}
        metadata.setdefault("uid", f"uid-{self._version}")
        self.objects[path] = {**found, "metadata": metadata}

    def of(self, plural: str) -> dict[str, dict[str, Any]]:
        return {
            path.rpartition("/")[2]: found
            for path, found in self.objects.items()
            if f"/{plural}/" in path
        }

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        if self.is_away:
            raise httpx2.ConnectError("away", request=request)
        path = request.url.path.strip("/")
        path = path.removeprefix("apis/").removeprefix("api/")
        path = path.replace(f"/namespaces/{NAMESPACE}", "")
        if request.method == "GET":
            return self._get(path, request.url.params.get("labelSelector", ""))
        self.writes.append((request.method, path))
        for part, status in self.refused.items():
            if part in path:
                return _status(status)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return self._write(request.method, path, json.loads(request.content))

    def _get(self, path: str, selector: str) -> httpx2.Response:
        if path in self.objects:
            return httpx2.Response(200, json=self.objects[path])
        key, _, value = selector.partition("=")
        items = [
            found
            for each, found in self.objects.items()
            if each.startswith(f"{path}/")
            and (not key or key in found["metadata"].get("labels", {}))
            and (not value or found["metadata"]["labels"][key] == value)
        ]
        if path.count("/") == (1 if path.startswith("v1/") else 2):
            return httpx2.Response(200, json={"metadata": {}, "items": items})
        return _status(404)

    def _write(self, method: str, path: str, sent: Any) -> httpx2.Response:
        if method == "POST":
            path = f"{path}/{sent['metadata']['name']}"
            if path in self.objects:
                return _status(409)
            sent["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        elif path not in self.objects:
            return _status(404)
        else:
            before = self.objects[path]
            version = sent["metadata"].get("resourceVersion")
            if version and version != before["metadata"]["resourceVersion"]:
                return _status(409)
            if method == "PATCH":
                sent = _merged(before, sent)
        self.put(path, sent)
        return httpx2.Response(200, json=self.objects[path])


def release(**settings: Any) -> ReleaseConfig:
    """A release with a stable v1 and a candidate v2 at ten per cent."""
    variants = {
        "v1": {**variant(1), "traffic": 90},
        "v2": {**variant(2), "role": "candidate", "traffic": 10},
    }
    return ReleaseConfig.model_validate(
        {"template": "mlflow", "variants": variants, **settings}
    )


def route_path(name: str) -> str:
    return f"gateway.networking.k8s.io/v1/httproutes/{name}"


def deploy(cluster: Kubernetes, name: str, settings: ReleaseConfig) -> None:
    """Have a release in the cluster, as `pulumi up` would, and all of it ready."""
    route = http_route(name, settings, lab=NAMESPACE, gateway="gateways/lab")
    cluster.put(route_path(name), route)
    for each in settings.variants:
        service = f"{name}-{each}"
        cluster.put(
            f"serving.kserve.io/v1beta1/inferenceservices/{service}",
            {
                "apiVersion": "serving.kserve.io/v1beta1",
                "kind": "InferenceService",
                "metadata": {"name": service},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            },
        )


def _merged(before: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    found = dict(before) if isinstance(before, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = _merged(found.get(key), value)
    return found


def _status(code: int) -> httpx2.Response:
    body = {"kind": "Status", "status": "Failure", "message": "no", "code": code}
    return httpx2.Response(code, json=body)
