"""Alertmanager: tells those whom the settings name, once per cause."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from components import objects
from components.pods import SCRATCH, env, http_probe, pod, resources, scratch
from components.scrapes import ALERTMANAGER_PORT
from stacks.watching import (
    EmailReceiver,
    Receiver,
    SlackReceiver,
    WebhookReceiver,
)

NAME = "alertmanager"
PORT = ALERTMANAGER_PORT
SELECTOR = {"app": NAME}
USER = 65534
NOBODY = "nobody"
"""Receiver of the alert that always fires, and of all when nobody is named."""
TITLE = (
    "[{{ .Status | toUpper }}] {{ .CommonLabels.lab }}: {{ .GroupLabels.alertname }}"
)
TEXT = """\
{{ range .Alerts }}{{ .Annotations.summary }}
Why it matters: {{ .Annotations.description }}
What to do: {{ .Annotations.do }}
{{ end }}"""


def needs_secret(receiver: Receiver) -> bool:
    """Whether a receiver's address or password is a secret of the stack."""
    match receiver:
        case WebhookReceiver():
            return receiver.url is None
        case SlackReceiver():
            return True
        case EmailReceiver():
            return receiver.username is not None


def settings(
    receivers: Mapping[str, Receiver], secrets: Mapping[str, str]
) -> dict[str, Any]:
    """Alertmanager's settings; `secrets` has one for each receiver that needs one."""
    return {
        "route": {
            "receiver": NOBODY,
            "group_by": ["alertname", "release"],
            "group_wait": "5s",
            "group_interval": "30s",
            "repeat_interval": "4h",
            "routes": [
                {"receiver": NOBODY, "matchers": ['severity="none"']},
                *(
                    {"receiver": _receiver_name(name), "continue": True}
                    for name in receivers
                ),
            ],
        },
        "receivers": [
            {"name": NOBODY},
            *(
                {"name": _receiver_name(name), **_told(receiver, secrets.get(name))}
                for name, receiver in receivers.items()
            ),
        ],
    }


def secret(text: Any) -> dict[str, Any]:
    """The Secret with the settings, as text: addresses and passwords are in them."""
    return objects.secret(NAME, {"alertmanager.yaml": text})


def written(receivers: Mapping[str, Receiver], secrets: Mapping[str, str]) -> str:
    """The settings as the text that Alertmanager reads (JSON is YAML too)."""
    return json.dumps(settings(receivers, secrets), indent=1)


def service() -> dict[str, Any]:
    """The Service of Alertmanager."""
    return objects.service(NAME, SELECTOR, {"name": "http", "port": PORT})


def deployment(image: str, *, external_url: Any, fingerprint: Any) -> dict[str, Any]:
    """The server; `fingerprint` changes with its settings, and restarts it."""
    container = {
        "name": NAME,
        "image": image,
        "command": ["/bin/alertmanager"],
        "args": [
            f"--config.file=/etc/{NAME}/alertmanager.yaml",
            "--storage.path=/tmp",
            f"--web.listen-address=:{PORT}",
            external_url,
            # There is one; it looks for no others.
            "--cluster.listen-address=",
        ],
        "env": env(GOMEMLIMIT="100MiB"),
        "ports": [{"name": "http", "containerPort": PORT}],
        "startupProbe": http_probe("/-/ready", PORT, every=1, failures=120),
        "readinessProbe": http_probe("/-/ready", PORT, every=5),
        "livenessProbe": http_probe("/-/healthy", PORT, every=20),
        "resources": resources(cpu="10m", memory="32Mi", most_cpu="500m", most="128Mi"),
        "volumeMounts": [
            {"name": "config", "mountPath": f"/etc/{NAME}", "readOnly": True},
            {"name": SCRATCH, "mountPath": "/tmp"},
        ],
    }
    volumes = [{"name": "config", "secret": {"secretName": NAME}}, scratch("64Mi")]
    return objects.deployment(
        NAME,
        SELECTOR,
        pod(USER, [container], volumes=volumes),
        annotations={"labfactory.io/settings": fingerprint},
        # Two at a time would both tell everybody.
        strategy={"type": "Recreate"},
    )


def _receiver_name(name: str) -> str:
    # A receiver of the settings may be called "nobody" too.
    return f"to-{name}"


def _told(receiver: Receiver, secret: str | None) -> dict[str, Any]:
    """How one receiver is told."""
    match receiver:
        case WebhookReceiver():
            return {
                "webhook_configs": [
                    {"url": receiver.url or secret, "send_resolved": True}
                ]
            }
        case SlackReceiver():
            return {
                "slack_configs": [
                    {
                        "api_url": secret,
                        "channel": receiver.channel,
                        "send_resolved": True,
                        "title": TITLE,
                        "text": TEXT,
                    }
                ]
            }
        case EmailReceiver():
            account = {}
            if receiver.username is not None:
                account = {
                    "auth_username": receiver.username,
                    "auth_password": secret,
                }
            return {
                "email_configs": [
                    {
                        "to": receiver.to,
                        "from": receiver.sender,
                        "smarthost": receiver.server,
                        "require_tls": True,
                        "send_resolved": True,
                        "headers": {"Subject": TITLE},
                        "text": TEXT,
                        "html": "",
                        **account,
                    }
                ]
            }
