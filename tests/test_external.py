"""A variant that is somebody else's endpoint: a real HTTPS server that misbehaves."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from model_server.slim import without_client

import model_templates
from stacks.schema import ExternalConfig

without_client()
from model_server import metrics  # noqa: E402
from model_server.endpoint_settings import Settings, SettingsError  # noqa: E402
from model_server.external import AT_ONCE, ExternalModel  # noqa: E402
from model_server.server import Predictions  # noqa: E402

SERVER = Path(model_templates.__file__).parent / "server"
KEY = "sk-this-is-a-secret"
ROWS = [{"x": 1.5, "y": 2}, {"x": -3.0, "y": 4}]
Answer = tuple[int, dict[str, str], bytes]


def predictions(*values: Any) -> Answer:
    return 200, {}, json.dumps({"predictions": values}).encode()


def sums(body: Any) -> Answer:
    """The well-behaved model: a row's sum."""
    rows = body["instances"]
    return predictions(
        *(sum(row.values() if isinstance(row, dict) else row) for row in rows)
    )


class Vendor(ThreadingHTTPServer):
    """Answers with `behave(body)`, or first with what is in `before`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tls = tls
        self.reset()

    def reset(self) -> None:
        self.behave: Callable[[Any], Answer] = sums
        self.before: list[Answer] = []
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.at_once = self.most_at_once = 0
        self.broken_off = threading.Event()
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Whoever does not trust the certificate hangs up: that is what a test wants.
        if not isinstance(sys.exc_info()[1], ssl.SSLError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_port}/v1/score"


class Handler(BaseHTTPRequestHandler):
    server: Vendor
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        with self.server.lock:
            self.server.connections += 1
        super().setup()

    def do_POST(self) -> None:
        vendor = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with vendor.lock:
            vendor.bodies.append(body)
            vendor.headers.append({k.lower(): v for k, v in self.headers.items()})
            vendor.at_once += 1
            vendor.most_at_once = max(vendor.most_at_once, vendor.at_once)
            early = vendor.before.pop(0) if vendor.before else None
        status, headers, content = early or vendor.behave(body)
        with vendor.lock:
            vendor.at_once -= 1
        try:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            vendor.broken_off.set()
            self.close_connection = True

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()
        self.request.close()

    def log_message(self, *_: object) -> None:
        pass


def signed(name: str, issuer: Any = None) -> tuple[Any, Any]:
    """A key and a certificate; an authority's own unless `issuer` has signed it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signer, its = issuer or (key, None)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(its.subject if its else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            False,
        )
        .sign(signer, hashes.SHA256())
    )
    return key, certificate


def pem(certificate: Any) -> str:
    text: bytes = certificate.public_bytes(serialization.Encoding.PEM)
    return text.decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vendor, str]]:
    """The vendor, and the certificate of the authority that signed its own."""
    authority = signed("authority")
    key, certificate = signed("vendor", authority)
    file = tmp_path_factory.mktemp("tls") / "vendor.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + pem(certificate).encode()
    )
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(file)
    vendor = Vendor(tls)
    thread = threading.Thread(target=vendor.serve_forever, args=(0.02,))
    thread.start()
    yield vendor, pem(authority[1])
    vendor.shutdown()
    thread.join()
    vendor.server_close()


@pytest.fixture
def vendor(server: tuple[Vendor, str]) -> Vendor:
    server[0].reset()
    return server[0]


@pytest.fixture
def declared(server: tuple[Vendor, str], vendor: Vendor) -> dict[str, Any]:
    """What a stack file says about the vendor; tests add to it."""
    return {"url": vendor.url, "key": "vendor", "trust": server[1], "cost_per_call": 1}


def environment(declared: dict[str, Any], **wrong: str) -> str:
    """LAB_EXTERNAL, as the lab fills it in; `wrong` is what no stack file may say."""
    config = ExternalConfig.model_validate(declared)
    return json.dumps({**config.model_dump(exclude={"key"}), **wrong})


def settings(declared: dict[str, Any], key: str | None = KEY) -> Settings:
    return Settings.of(environment(declared), key)


def ask(
    declared: dict[str, Any],
    *bodies: Any,
    protocol: str = "v1",
    key: str | None = KEY,
    name: str = "m",
) -> list[tuple[int, dict[str, Any]]]:
    """Ask one server for each of `bodies`, one after the other."""

    async def nobody(*_: Any) -> None:
        raise AssertionError("only predictions are asked for")

    async def story() -> list[tuple[int, dict[str, Any]]]:
        model = ExternalModel(name, f"{name}-vendor", settings(declared, key))
        predictions = Predictions(model, nobody)
        found = []
        for body in bodies:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            status, answer = await predictions.answer(protocol, raw, [])
            found.append((status, json.loads(answer)))
        await model.endpoint.close()
        return found

    return asyncio.run(story())


def counted(name: str, model: str = "m") -> dict[str, float]:
    """Calls by outcome."""
    [metric] = getattr(metrics, name).collect()
    return {
        sample.labels.get("outcome", ""): sample.value
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.labels["model"] == model
    }


# What is right


def test_rows_go_to_the_endpoint_and_its_predictions_come_back(
    vendor: Vendor, declared: dict[str, Any]
) -> None:
    [answer] = ask(declared, {"instances": ROWS})

    assert answer == (200, {"predictions": [3.5, 1.0], "served_by": "m-vendor"})
    assert vendor.bodies == [{"instances": ROWS}]


@pytest.mark.parametrize(
    ("protocol", "body", "sent"),
    [
        ("v1", {"instances": [[1, 2], [3, 4.5]]}, [[1, 2], [3, 4.5]]),
        (
            "v1",
            {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}},
            [{"a": 1, "b": 2}],
        ),
        (
            "v2",
            {
                "inputs": [
                    {"name": "a", "shape": [2], "datatype": "INT64", "data": [1, 2]},
                    {
                        "name": "b",
                        "shape": [2, 1],
                        "datatype": "FP64",
                        "data": [0.5, 1],
                    },
                ]
            },
            [{"a": 1, "b": 0.5}, {"a": 2, "b": 1.0}],
        ),
        (
            "v2",
            {
                "inputs": [
                    {
                        "name": "x",
                        "shape": [2, 2],
                        "datatype": "FP32",
                        "data": [1, 2, 3, 4],
                    }
                ]
            },
            [[1.0, 2.0], [3.0, 4.0]],
        ),
    ],
    ids=["lists", "split", "a tensor per column", "one tensor"],
)
def test_every_shape_of_both_protocols_becomes_rows(
    vendor: Vendor, declared: dict[str, Any], protocol: str, body: Any, sent: Any
) -> None:
    [(status, answer)] = ask(declared, body, protocol=protocol)

    totals = [sum(r.values() if isinstance(r, dict) else r) for r in sent]
    assert status == 200
    assert vendor.bodies == [{"instances": sent}]
    if protocol == "v1":
        assert answer["predictions"] == totals
    else:
        assert answer["outputs"][0]["data"] == totals
        assert answer["parameters"] == {"served_by": "m-vendor"}


def test_a_declared_template_maps_what_is_sent_and_what_comes_back(
    vendor: Vendor, declared: dict[str, Any]
) -> None:
    vendor.behave = lambda body: (
        200,
        {},
        json.dumps(
            {"data": {"items": [{"label": f"<{t}>"} for t in body["texts"]]}}
        ).encode(),
    )
    declared |= {
        "request": "{model: 'large', texts: rows[].text}",
        "response": "data.items[].label",
    }

    [(status, answer)] = ask(declared, {"instances": [{"text": "a"}, {"text": "b"}]})

    assert (status, answer["predictions"]) == (200, ["<a>", "<b>"])
    assert vendor.bodies == [{"model": "large", "texts": ["a", "b"]}]


def test_a_call_for_each_row_keeps_their_order_and_is_never_more_than_eight(
    vendor: Vendor, declared: dict[str, Any]
) -> None:
    def slow(body: Any) -> Answer:
        time.sleep(0.03)
        return 200, {}, json.dumps({"score": body["x"] * 2}).encode()

    vendor.behave = slow
    declared |= {"call_per": "row", "request": "{x: row.x}", "response": "score"}

    [(status, answer)] = ask(declared, {"instances": [{"x": n} for n in range(20)]})

    assert (status, answer["predictions"]) == (200, [2 * n for n in range(20)])
    assert 2 <= vendor.most_at_once <= AT_ONCE


def test_one_connection_serves_many_calls(
    vendor: Vendor, declared: dict[str, Any]
) -> None:
    ask(declared, *[{"instances": ROWS}] * 5)

    assert len(vendor.bodies) == 5
    assert vendor.connections == 1


@pytest.mark.parametrize(
    ("line", "header", "value"),
    [
        ("Authorization: Bearer {key}", "authorization", f"Bearer {KEY}"),
        ("X-Api-Key: {key}", "x-api-key", KEY),
    ],
)
def test_the_key_goes_where_the_settings_say(
    vendor: Vendor, declared: dict[str, Any], line: str, header: str, value: str
) -> None:
    ask({**declared, "header": line}, {"instances": ROWS}, key=f"{KEY}\n")

    assert vendor.headers[0][header] == value
    assert vendor.headers[0]["content-type"] == "application/json"


def test_without_a_key_none_is_sent(vendor: Vendor, declared: dict[str, Any]) -> None:
    ask(declared, {"instances": ROWS}, key=None)

    assert "authorization" not in vendor.headers[0]


def test_each_answered_call_costs_what_the_settings_say(
    vendor: Vendor, declared: dict[str, Any]
) -> None:
    declared |= {"call_per": "row", "request": "{instances: [row]}"}
    declared |= {"response": "predictions[0]", "cost_per_call": 0.25, "retries": 1}
    vendor.before = [(503, {"Retry-After": "0"}, b"")]

    ask(declared, {"instances": ROWS}, name="costly")

    assert counted("EXTERNAL_COST", "costly") == {"": 0.5}
    calls = counted("EXTERNAL_CALLS", "costly")
    assert (calls["answered"], calls["busy"]) == (2, 1)


# Tries


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_endpoint_is_asked_again(
    vendor: Vendor, declared: dict[str, Any], status: int
) -> None:
    vendor.before = [(status, {"Retry-After": "0"}, b"busy")]

    [(answered, _)] = ask(declared, {"instances": ROWS})

    assert answered == 200
    assert len(vendor.bodies) == 2


def test_no_more_tries_than_the_settings_allow(
    vendor: Vendor, declared: dict[str, Any]
) -> None:
    vendor.behave = lambda _: (503, {"Retry-After": "0"}, b"busy")

    [(status, answer)] = ask({**declared, "retries": 2}, {"instances": ROWS})

    assert status == 502
    assert answer["error"].endswith("is busy (status 503)")
    assert len(vendor.bodies) == 3


def test_retry_after_is_waited_for(vendor: Vendor, declared: dict[str, Any]) -> None:
    vendor.before = [(429, {"Retry-After": "1"}, b"")]
    began = time.monotonic()

    [(status, _)] = ask(declared, {"instances": ROWS})

    assert status == 200
    assert time.monotonic() - began >= 1


def test_a_wait_beyond_the_time_out_is_not_begun(
    vendor: Vendor, declared: dict[str, Any]
) -> None:
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)
    vendor.before = [
        (429, {"Retry-After": "60"}, b""),
        (429, {"Retry-After": format_datetime(later, usegmt=True)}, b""),
    ]
    began = time.monotonic()

    answers = ask(declared, *[{"instances": ROWS}] * 2)

    assert [status for status, _ in answers] == [502, 502]
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("after", ["soon", "", "9" * 400, "Mon, 32 Foo 9999", "²"])
def test_a_retry_after_that_says_nothing_is_no_failure(
    vendor: Vendor, declared: dict[str, Any], after: str
) -> None:
    vendor.before = [(503, {"Retry-After": after}, b"")]

    [(status, _)] = ask(declared, {"instances": ROWS})

    assert status == (502 if after.isascii() and after.isdigit() else 200)


def test_nobody_at_the_address_is_a_502(declared: dict[str, Any]) -> None:
    port = free_port()
    declared["url"] = f"https://127.0.0.1:{port}/"
    before = counted("EXTERNAL_CALLS").get("unreachable", 0)

    [(status, answer)] = ask(declared, {"instances": ROWS})

    assert status == 502
    assert answer["error"] == f"127.0.0.1:{port} can't be reached (ConnectError)"
    assert counted("EXTERNAL_CALLS")["unreachable"] == before + 2


# What is wrong with the endpoint

RUBBISH: dict[str, tuple[Answer, str]] = {
    "not json": ((200, {}, b"<html>secret-of-theirs"), "something that is not JSON"),
    "nothing": ((200, {}, b""), "something that is not JSON"),
    "nan": ((200, {}, b'{"predictions": [NaN, 1]}'), "something that is not JSON"),
    "an infinite number": ((200, {}, b'{"predictions": [1e999, 1]}'), ""),
    "nothing where to look": (
        (200, {}, b'{"error": "secret-of-theirs"}'),
        "without what the expression `response` looks for",
    ),
    "null": ((200, {}, b"null"), "`response` looks for"),
    "no list": ((200, {}, b'{"predictions": "secret-of-theirs"}'), "with a string"),
    "too few": (predictions(1), "1 predictions for 2 rows"),
    "too many": (predictions(1, 2, 3), "3 predictions for 2 rows"),
    "a null": (predictions(1, None), "null or no finite number"),
    "10 MB": ((200, {}, b" " * 10_000_000 + b"{}"), "more than 8 MiB"),
    "half an answer": ((200, {"Content-Length": "10"}, b"{}"), "can't be reached"),
    "a broken encoding": (
        (200, {"Content-Encoding": "gzip"}, b"secret-of-theirs"),
        "can't be reached (DecodingError)",
    ),
    "a wrong key": ((401, {}, b"secret-of-theirs"), "refuses the key (status 401)"),
    "a refusal": ((422, {}, b"secret-of-theirs"), "refuses the call (status 422)"),
    "a failure": ((500, {}, b"secret-of-theirs"), "refuses the call (status 500)"),
}


@pytest.mark.parametrize("case", RUBBISH)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_rubbish_is_a_502_that_says_what_and_who(
    vendor: Vendor,
    declared: dict[str, Any],
    case: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    answer, said = RUBBISH[case]
    closing = {"Connection": "close"} if case == "half an answer" else {}

    def rubbish(_: Any) -> Answer:
        return answer[0], {**answer[1], **closing}, answer[2]

    vendor.behave = rubbish

    [(status, told)] = ask({**declared, "retries": 0}, {"instances": ROWS})

    assert status == 502
    assert told["error"].startswith(f"127.0.0.1:{vendor.server_port} ")
    assert said in told["error"]
    assert KEY not in str(told) + caplog.text
    assert "secret-of-theirs" not in str(told) + caplog.text


def test_a_prediction_for_one_row_may_not_be_null_either(
    vendor: Vendor, declared: dict[str, Any]
) -> None:
    vendor.behave = lambda _: (200, {}, b'{"predictions": null}')

    [(status, _)] = ask({**declared, "call_per": "row"}, {"instances": ROWS})

    assert status == 502


def test_a_slow_endpoint_is_a_504_after_the_time_out(
    vendor: Vendor, declared: dict[str, Any]
) -> None:
    release = threading.Event()

    def slow(_: Any) -> Answer:
        release.wait(10)
        return predictions(1, 2)

    vendor.behave = slow
    began = time.monotonic()
    [(status, answer)] = ask({**declared, "timeout_seconds": 1}, {"instances": ROWS})
    took = time.monotonic() - began
    release.set()

    assert status == 504
    assert answer["error"].endswith("did not answer within 1 s")
    assert 1 <= took < 2


def test_a_redirect_takes_neither_rows_nor_key_elsewhere(
    vendor: Vendor, declared: dict[str, Any]
) -> None:
    vendor.behave = lambda _: (307, {"Location": vendor.url + "/elsewhere"}, b"")

    [(status, answer)] = ask(declared, {"instances": ROWS})

    assert status == 502
    assert "status 307" in answer["error"]
    assert "elsewhere" not in answer["error"].replace("callers elsewhere", "")
    assert len(vendor.bodies) == 1


def test_an_authority_that_nobody_trusts_gets_no_rows(
    vendor: Vendor, declared: dict[str, Any]
) -> None:
    [(status, answer)] = ask({**declared, "trust": None}, {"instances": ROWS})

    assert status == 502
    assert "certificate that is not trusted" in answer["error"]
    assert vendor.bodies == []


def test_an_outage_is_one_line_in_the_log(
    vendor: Vendor, declared: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    vendor.before = [(500, {}, b"")] * 3

    ask(declared, *[{"instances": ROWS}] * 5)

    ours = [record for record in caplog.records if record.name == "model_server"]
    assert len(ours) == 2
    assert "status 500" in ours[0].getMessage()
    assert "answers again" in ours[1].getMessage()


# What is wrong with the caller


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        {"instances": []},
        {"instances": [1, 2]},
        {"instances": ["text"]},
        {"instances": [{"x": 1}, [1]]},
        {"instances": ROWS, "params": {"k": 1}},
        {"instances": {"x": 1}},
    ],
)
def test_bad_input_is_the_callers_400_and_no_call(
    vendor: Vendor, declared: dict[str, Any], body: Any
) -> None:
    [(status, answer)] = ask(declared, body)

    assert status == 400
    assert set(answer) == {"error"}
    assert vendor.bodies == []


def test_rows_the_expression_makes_nothing_of_are_a_400_and_not_repeated(
    vendor: Vendor, declared: dict[str, Any]
) -> None:
    for request in ("rows[0].text", "{t: join(', ', rows[].x)}"):
        body = {"instances": [{"x": 12345}]}
        [(status, answer)] = ask({**declared, "request": request}, body)

        assert status == 400
        assert "expression `request`" in answer["error"]
        assert "12345" not in answer["error"]
    assert vendor.bodies == []


def test_a_caller_who_goes_away_ends_the_call(
    vendor: Vendor, declared: dict[str, Any]
) -> None:
    came, release = threading.Event(), threading.Event()

    def slow(_: Any) -> Answer:
        came.set()
        release.wait(10)
        return 200, {}, b" " * 5_000_000

    vendor.behave = slow
    sent: list[Any] = []

    async def story() -> float:
        model = ExternalModel("m", "m-vendor", settings(declared))
        predictions = Predictions(model, lambda *_: asyncio.sleep(0))
        body = json.dumps({"instances": ROWS}).encode()
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await asyncio.to_thread(came.wait, 10)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "path": "/v1/models/m:predict",
            "method": "POST",
            "headers": [],
        }
        began = time.monotonic()
        await predictions(scope, receive, send)
        took = time.monotonic() - began
        await asyncio.sleep(0.05)
        release.set()
        await asyncio.to_thread(vendor.broken_off.wait, 10)
        await model.endpoint.close()
        return took

    assert asyncio.run(story()) < 2
    assert vendor.broken_off.is_set()
    assert sent == []


# Settings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"request": "{instances: rows"}, "external.request"),
        ({"response": "a.b["}, "external.response"),
        (
            {"trust": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
            "external.trust",
        ),
    ],
)
def test_settings_that_cannot_work_are_a_sentence(
    declared: dict[str, Any], changes: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        Settings.of(environment(declared, **changes), None)


def test_a_key_that_no_header_can_carry_is_refused_unsaid(
    declared: dict[str, Any],
) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(declared, "one-secret\nX-Other: 1")

    assert "one-secret" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{", '{"url": 3}'])
def test_an_environment_that_says_nothing_is_a_sentence(text: str) -> None:
    with pytest.raises(SettingsError, match="LAB_EXTERNAL"):
        Settings.of(text, None)


# The process


def test_the_template_starts_the_server_as_it_can_be_started() -> None:
    template = model_templates.load("external")

    words = " ".join(template.args)
    assert "--external" in template.args
    assert "--digest" not in words
    assert "external" not in model_templates.names()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def start(
    declared: dict[str, Any], *, port: int, **wrong: str
) -> subprocess.Popen[str]:
    names = {"--model_name": "iris", "--served_by": "iris-vendor"}
    arguments = [
        f"{name}={names[name]}" if name in names else argument
        for argument in yaml.safe_load((SERVER / "external.yaml").read_text())["args"]
        if (name := argument.partition("=")[0]) != "--http_port"
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "model_server", *arguments, f"--http_port={port}"],
        env={
            **os.environ,
            "PYTHONPATH": str(SERVER),
            "LAB_EXTERNAL": environment(declared, **wrong),
            "LAB_EXTERNAL_KEY": KEY,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_process_is_ready_without_the_vendor_and_forwards_once_it_is_there(
    vendor: Vendor, declared: dict[str, Any]
) -> None:
    vendor.before = [(500, {}, b"")]
    port = free_port()
    server = start(declared, port=port)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with suppress(httpx.TransportError):
                ready = httpx.get(f"{url}/v1/models/iris")
                break
            assert server.poll() is None, server.communicate()[0]
            time.sleep(0.05)
        assert vendor.connections == 0
        failed = httpx.post(f"{url}/v1/models/iris:predict", json={"instances": ROWS})
        good = httpx.post(f"{url}/v1/models/iris:predict", json={"instances": ROWS})
        figures = httpx.get(f"{url}/metrics").text
        card = httpx.get(f"{url}/v1/models/iris/card")
    finally:
        server.send_signal(signal.SIGTERM)
        output, _ = server.communicate(timeout=20)

    assert ready.json() == {
        "name": "iris",
        "ready": True,
        "served_by": "iris-vendor",
        "external": f"127.0.0.1:{vendor.server_port}",
    }
    assert (failed.status_code, good.status_code) == (502, 200)
    assert good.json() == {"predictions": [3.5, 1.0], "served_by": "iris-vendor"}
    labels = 'model="iris",served_by="iris-vendor"'
    assert f"lab_model_external_cost_total{{{labels}}} 1.0" in figures
    assert f"lab_model_failures_total{{{labels}}} 1.0" in figures
    assert f"lab_model_predictions_total{{{labels}}} 2.0" in figures
    assert card.status_code == 404
    assert KEY not in output + figures
    assert server.returncode == 0


def test_settings_that_cannot_work_are_the_last_line_of_the_log(
    declared: dict[str, Any],
) -> None:
    server = start(declared, port=free_port(), request="{")
    output, _ = server.communicate(timeout=60)

    assert server.returncode == 1
    assert "external.request: is not a JMESPath" in output.strip().splitlines()[-1]
