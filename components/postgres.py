"""PostgreSQL 15: one server, one volume, one database for the tracking server."""

from __future__ import annotations

from typing import Any

from components.pods import (
    SCRATCH,
    env,
    exec_probe,
    pod,
    resources,
    scratch,
    volume_claim,
)

NAME = "postgres"
PORT = 5432
DATABASE = ROLE = "mlflow"
USER = 999
SELECTOR = {"app": NAME}
DATA = "/var/lib/postgresql/data"
SOCKETS = "/var/run/postgresql"

# A cluster is made beside its place and moved there, so that half a cluster is never
# taken for a whole one. Only the tracking server's role may come over the network, and
# only with its password; the superuser has none and must be this very user in the pod.
# The role's password is set at each start: the Secret is right, whatever was before.
START = """\
set -eu
if [ ! -d "$PGDATA" ]; then
  rm -rf "$PGDATA.new"
  initdb --pgdata="$PGDATA.new" --username=postgres --encoding=UTF8 --locale=C.UTF-8 \\
    --auth-local=peer --auth-host=reject --data-checksums
  echo "host $DATABASE $ROLE all scram-sha-256" > "$PGDATA.new/pg_hba.conf.lab"
  cat "$PGDATA.new/pg_hba.conf" >> "$PGDATA.new/pg_hba.conf.lab"
  mv "$PGDATA.new/pg_hba.conf.lab" "$PGDATA.new/pg_hba.conf"
  printf '%s\\n' "CREATE ROLE $ROLE LOGIN" "CREATE DATABASE $DATABASE OWNER $ROLE" |
    postgres --single -D "$PGDATA.new" postgres > /dev/null
  mv "$PGDATA.new" "$PGDATA"
fi
printf '%s\\n' "ALTER ROLE $ROLE PASSWORD '$(cat /run/secrets/postgres/password)'" |
  postgres --single -D "$PGDATA" postgres > /dev/null
exec postgres -D "$PGDATA" -c listen_addresses='*' -c shared_buffers=64MB \\
  -c unix_socket_directories=/var/run/postgresql
"""


def secret(password: Any, uri: Any) -> dict[str, Any]:
    """The Secret with the role's password, and the whole address of the database."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NAME},
        "stringData": {"password": password, "uri": uri},
    }


def uri(password: str) -> str:
    """The database's address for SQLAlchemy, inside the lab's namespace."""
    return f"postgresql+psycopg2://{ROLE}:{password}@{NAME}:{PORT}/{DATABASE}"


def volume(capacity: str, storage_class: str | None) -> dict[str, Any]:
    """The claim of the volume with the database."""
    return volume_claim(f"{NAME}-data", capacity, storage_class)


def service() -> dict[str, Any]:
    """The Service of the database."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "annotations": {"pulumi.com/skipAwait": "true"}},
        "spec": {"selector": SELECTOR, "ports": [{"name": "sql", "port": PORT}]},
    }


def server(image: str, claim: Any, fingerprint: Any) -> dict[str, Any]:
    """The server; `fingerprint` changes with the password, and restarts it."""
    # As the superuser, through the socket: anybody else's question ends in the log.
    ready = (
        "pg_isready",
        "--quiet",
        f"--host={SOCKETS}",
        "--username=postgres",
        "--dbname=postgres",
    )
    container = {
        "name": NAME,
        "image": image,
        "command": ["sh", "-c", START],
        "env": env(PGDATA=f"{DATA}/pgdata", DATABASE=DATABASE, ROLE=ROLE),
        "ports": [{"name": "sql", "containerPort": PORT}],
        "startupProbe": exec_probe(*ready, every=1, failures=180),
        "readinessProbe": exec_probe(*ready, every=10),
        "livenessProbe": exec_probe(*ready, every=20),
        "resources": resources(cpu="50m", memory="128Mi", most_cpu="2", most="512Mi"),
        "volumeMounts": [
            {"name": "data", "mountPath": DATA},
            {"name": "sockets", "mountPath": SOCKETS},
            {"name": SCRATCH, "mountPath": "/tmp"},
            {"name": "secret", "mountPath": "/run/secrets/postgres", "readOnly": True},
        ],
    }
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": claim}},
        {"name": "sockets", "emptyDir": {"sizeLimit": "16Mi"}},
        {
            "name": "secret",
            "secret": {
                "secretName": NAME,
                "items": [{"key": "password", "path": "password"}],
            },
        },
        scratch(),
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": 1,
            "serviceName": NAME,
            "selector": {"matchLabels": SELECTOR},
            "template": {
                "metadata": {
                    "labels": SELECTOR,
                    "annotations": {"labfactory.io/credentials": fingerprint},
                },
                # Time to write everything down; the image stops it the fast way.
                "spec": pod(
                    USER, [container], volumes=volumes, terminationGracePeriodSeconds=60
                ),
            },
        },
    }
