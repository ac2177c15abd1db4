"""Experiment tracking and the model registry: MLflow on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi

from components import credentials, objects, postgres
from components.manifest import Parts, cluster_ip
from components.pods import (
    LAB_USER,
    SCRATCH,
    env,
    http_probe,
    pod,
    resources,
    scratch,
    secret_key,
)
from components.storage import S3Access
from stacks.schema import TrackingConfig

NAME = "mlflow"
PORT = 5000
SELECTOR = {"app": NAME}


class Tracking(pulumi.ComponentResource):
    """A tracking server whose runs and models outlive it."""

    url: pulumi.Output[str]
    """Where it answers from outside of the lab's namespace, once it is ready."""
    keeper: pulumi.Output[str] | None
    """Name of the Secret of the role that reads everything, where it is backed up."""

    def __init__(
        self,
        name: str,
        config: TrackingConfig,
        *,
        namespace: pulumi.Input[str],
        image: Callable[[str], str],
        storage_class: str | None,
        seed: pulumi.Output[str],
        artifacts: S3Access,
        watched: bool = False,
        backed_up: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the server, with its files in the store behind `artifacts`.

        Where they are `watched`, it and its database show Prometheus their figures;
        where it is `backed_up`, a role may read everything that is in the database.
        """
        super().__init__("labfactory:components:Tracking", name, {}, opts)
        add = Parts(self, name, namespace).add
        password = seed.apply(lambda s: credentials.password(s, "postgres"))
        fingerprint = pulumi.Output.unsecret(password.apply(credentials.fingerprint))
        needs = [
            add(
                "database-secret",
                postgres.secret(password, password.apply(postgres.uri)),
            )
        ]
        exporter = None
        if watched:
            exporter = image("postgres-exporter")
            watcher = seed.apply(lambda s: credentials.password(s, "postgres/metrics"))
            secret = postgres.watcher_secret(watcher)
            needs.append(add("database-metrics", secret))
        self.keeper = None
        if backed_up:
            keeper = seed.apply(lambda s: credentials.password(s, "postgres/keeper"))
            needs.append(add("database-keeper", postgres.keeper_secret(keeper)))
            self.keeper = needs[-1].name
        volume = add("data", postgres.volume(config.capacity, storage_class))
        server = postgres.server(
            image("postgres"),
            volume.name,
            fingerprint,
            exporter=exporter,
            backed_up=backed_up,
        )
        database_service = postgres.service(watched=exporter is not None)
        needs.append(add("database-service", database_service))
        database = add("database", server, after=needs)
        service = add("service", mlflow_service())
        address = cluster_ip(service)
        add(
            "server",
            mlflow(
                image("lab"),
                bucket=config.bucket,
                artifacts=artifacts,
                hosts=pulumi.Output.all(namespace, address).apply(
                    lambda found: ",".join(hosts(*found))
                ),
                origins=pulumi.Output.all(namespace, address).apply(
                    lambda found: ",".join(f"http://{host}" for host in hosts(*found))
                ),
                fingerprint=pulumi.Output.concat(
                    fingerprint, "-", artifacts.fingerprint
                ),
                watched=watched,
            ),
            after=[database],
        )
        self.url = address.apply(lambda found: f"http://{found}:{PORT}")
        self.register_outputs({"url": self.url})


def hosts(namespace: str, address: str) -> list[str]:
    """Names and ports by which clients may call; others are taken for an attack."""
    names = (
        NAME,
        f"{NAME}.{namespace}",
        f"{NAME}.{namespace}.svc",
        f"{NAME}.{namespace}.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        address,
    )
    return [f"{name}:{PORT}" for name in names]


def mlflow_service() -> dict[str, Any]:
    """The Service of the tracking server."""
    return objects.service(NAME, SELECTOR, {"name": "http", "port": PORT})


def mlflow(
    image: str,
    *,
    bucket: str,
    artifacts: S3Access,
    hosts: Any,
    origins: Any,
    fingerprint: Any,
    watched: bool = False,
) -> dict[str, Any]:
    """The tracking server; `fingerprint` changes with its keys, and restarts it.

    Where it is `watched`, it shows Prometheus its figures at /metrics.
    """
    container = {
        "name": NAME,
        "image": image,
        "command": ["python3", "-m", "mlflow", "server"],
        "args": [
            "--host=0.0.0.0",
            f"--port={PORT}",
            "--workers=1",
            "--serve-artifacts",
            f"--artifacts-destination=s3://{bucket}",
            # Without it each request on a kept connection takes 44 ms more.
            "--uvicorn-opts=--loop uvloop",
            *(["--expose-prometheus=/tmp/metrics"] if watched else []),
        ],
        "env": env(
            HOME="/tmp",
            MLFLOW_BACKEND_STORE_URI=secret_key(postgres.NAME, "uri"),
            MLFLOW_SERVER_ALLOWED_HOSTS=hosts,
            MLFLOW_SERVER_CORS_ALLOWED_ORIGINS=origins,
            # Jobs let a client run code here, and their workers take 1.4 GiB.
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
            MLFLOW_S3_ENDPOINT_URL=artifacts.endpoint,
            AWS_DEFAULT_REGION=artifacts.region,
            AWS_ACCESS_KEY_ID=secret_key(artifacts.secret, "AWS_ACCESS_KEY_ID"),
            AWS_SECRET_ACCESS_KEY=secret_key(artifacts.secret, "AWS_SECRET_ACCESS_KEY"),
        ),
        "ports": [{"name": "http", "containerPort": PORT}],
        "startupProbe": http_probe("/health", PORT, every=1, failures=180),
        "readinessProbe": http_probe("/health", PORT, every=5),
        "livenessProbe": http_probe("/health", PORT, every=20),
        "resources": resources(cpu="50m", memory="384Mi", most_cpu="2", most="1536Mi"),
        "volumeMounts": [{"name": SCRATCH, "mountPath": "/tmp"}],
    }
    # An upload passes through here before it is in the store.
    spec = pod(LAB_USER, [container], volumes=[scratch("8Gi")])
    return objects.deployment(
        NAME,
        SELECTOR,
        spec,
        annotations={"labfactory.io/credentials": fingerprint},
        # One at a time: a new version may change the tables under the old one.
        strategy={"type": "Recreate"},
    )
