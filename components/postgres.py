"""PostgreSQL 15: one server, one volume, one database for the tracking server."""

from __future__ import annotations

from typing import Any

from components import objects
from components.pods import (
    SCRATCH,
    env,
    exec_probe,
    http_probe,
    pod,
    resources,
    restricted,
    scratch,
    secret_key,
    volume_claim,
)

NAME = "postgres"
PORT = 5432
METRICS_PORT = 9187
DATABASE = ROLE = "mlflow"
USER = 999
EXPORTER_USER = 998
"""Not the server's: the superuser is whoever is that one in the pod."""
WATCHER = "metrics"
"""Role that reads figures about the database and no table in it."""
WATCHER_SECRET = "postgres-metrics"
KEEPER = "keeper"
"""Role that reads every table and changes none."""
KEEPER_SECRET = "postgres-keeper"
SELECTOR = {"app": NAME}
DATA = "/var/lib/postgresql/data"
SOCKETS = "/var/run/postgresql"

# A cluster is made beside its place and moved there, so that half a cluster is never
# taken for a whole one. Only the tracking server's role may come over the network, and
# only with its password; the superuser has none and must be this very user in the pod.
# The role's password is set at each start: the Secret is right, whatever was before.
MAKE = """\
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
"""
SERVE = """\
exec postgres -D "$PGDATA" -c listen_addresses='*' -c shared_buffers=64MB \\
  -c unix_socket_directories=/var/run/postgresql
"""


def start(*, watched: bool = False, backed_up: bool = False) -> str:
    """The shell that makes the database where there is none, and becomes its server.

    Where it is `watched` or `backed_up`, a role of its own reads its figures, through
    the socket alone, or all its tables, over the network.
    """
    steps = [MAKE]
    if watched:
        steps.append(
            _let_in("$WATCHER", "local all $WATCHER", "pg_monitor", "metrics-password")
        )
    if backed_up:
        where = "host $DATABASE $KEEPER all"
        steps.append(_let_in("$KEEPER", where, "pg_read_all_data", "keeper-password"))
    return "".join([*steps, SERVE])


def _let_in(role: str, where: str, right: str, password: str) -> str:
    """Give `role` one right and a password, and let it in by the rule `where`."""
    # Before the server starts. The first line of pg_hba.conf that fits counts.
    return f"""\
if ! grep -q "^{where} " "$PGDATA/pg_hba.conf"; then
  {{ echo "{where} scram-sha-256"; cat "$PGDATA/pg_hba.conf"; }} \\
    > "$PGDATA/pg_hba.conf.lab"
  mv "$PGDATA/pg_hba.conf.lab" "$PGDATA/pg_hba.conf"
fi
printf '%s\\n' "DO \\$\\$ BEGIN CREATE ROLE {role} LOGIN; \\
EXCEPTION WHEN duplicate_object THEN NULL; END \\$\\$" \\
  "GRANT {right} TO {role}" \\
  "ALTER ROLE {role} PASSWORD '$(cat /run/secrets/postgres/{password})'" |
  postgres --single -D "$PGDATA" postgres > /dev/null
"""


def secret(password: Any, uri: Any) -> dict[str, Any]:
    """The Secret with the role's password, and the whole address of the database."""
    return objects.secret(NAME, {"password": password, "uri": uri})


def watcher_secret(password: Any) -> dict[str, Any]:
    """The Secret with the password of the role that reads figures."""
    return objects.secret(WATCHER_SECRET, {"metrics-password": password})


def keeper_secret(password: Any) -> dict[str, Any]:
    """The Secret with the password of the role that reads everything."""
    return objects.secret(KEEPER_SECRET, {"keeper-password": password})


def uri(password: str) -> str:
    """The database's address for SQLAlchemy, inside the lab's namespace."""
    return f"postgresql+psycopg2://{ROLE}:{password}@{NAME}:{PORT}/{DATABASE}"


def volume(capacity: str, storage_class: str | None) -> dict[str, Any]:
    """The claim of the volume with the database."""
    return volume_claim(f"{NAME}-data", capacity, storage_class)


def service(*, watched: bool = False) -> dict[str, Any]:
    """The Service of the database, and of its figures where it is `watched`."""
    sql = {"name": "sql", "port": PORT}
    if not watched:
        return objects.service(NAME, SELECTOR, sql)
    metrics = {"name": "metrics", "port": METRICS_PORT}
    # Whatever ails the container that shows figures, the database is reached.
    return objects.service(NAME, SELECTOR, sql, metrics, publishNotReadyAddresses=True)


def container(
    image: str, *, watched: bool = False, backed_up: bool = False
) -> dict[str, Any]:
    """The server's container.

    It mounts `data`, `sockets` and `secret`, in which the passwords are.
    """
    # As the superuser, through the socket: anybody else's question ends in the log.
    ready = (
        "pg_isready",
        "--quiet",
        f"--host={SOCKETS}",
        "--username=postgres",
        "--dbname=postgres",
    )
    roles = {"WATCHER": WATCHER} if watched else {}
    if backed_up:
        roles["KEEPER"] = KEEPER
    return {
        "name": NAME,
        "image": image,
        "command": ["sh", "-c", start(watched=watched, backed_up=backed_up)],
        "env": env(PGDATA=f"{DATA}/pgdata", DATABASE=DATABASE, ROLE=ROLE, **roles),
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


def sockets() -> dict[str, Any]:
    """The volume with the server's socket."""
    return {"name": "sockets", "emptyDir": {"sizeLimit": "16Mi"}}


def server(
    image: str,
    claim: Any,
    fingerprint: Any,
    *,
    exporter: str | None = None,
    backed_up: bool = False,
) -> dict[str, Any]:
    """The server; `fingerprint` changes with the passwords, and restarts it.

    With the image `exporter` a container beside it shows its figures to Prometheus.
    """
    watched = exporter is not None
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": claim}},
        sockets(),
        {"name": "secret", **_passwords(watched=watched, backed_up=backed_up)},
        scratch(),
    ]
    beside = [_exporter(exporter)] if exporter else []
    # Time to write everything down; the image stops it the fast way.
    spec = pod(
        USER,
        [container(image, watched=watched, backed_up=backed_up), *beside],
        volumes=volumes,
        terminationGracePeriodSeconds=60,
    )
    return objects.stateful_set(
        NAME,
        SELECTOR,
        spec,
        annotations={"labfactory.io/credentials": fingerprint},
    )


def _passwords(*, watched: bool, backed_up: bool) -> dict[str, Any]:
    """The volume source with the roles' passwords, one file each."""
    items = [{"key": "password", "path": "password"}]
    roles = {WATCHER_SECRET: watched, KEEPER_SECRET: backed_up}
    others = [{"secret": {"name": each}} for each, there in roles.items() if there]
    if not others:
        return {"secret": {"secretName": NAME, "items": items}}
    own = {"secret": {"name": NAME, "items": items}}
    return {"projected": {"sources": [own, *others]}}


def _exporter(image: str) -> dict[str, Any]:
    """The container that asks the server for its figures, through the socket."""
    base = restricted({})["securityContext"]
    return {
        "name": "exporter",
        "image": image,
        "command": ["/bin/postgres_exporter"],
        "args": [f"--web.listen-address=:{METRICS_PORT}"],
        "env": env(
            DATA_SOURCE_NAME=f"host={SOCKETS} user={WATCHER} dbname=postgres "
            "sslmode=disable",
            PGPASSWORD=secret_key(WATCHER_SECRET, "metrics-password"),
            GOMEMLIMIT="48MiB",
        ),
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT}],
        "readinessProbe": http_probe("/", METRICS_PORT, every=10),
        "livenessProbe": http_probe("/", METRICS_PORT, every=20),
        "resources": resources(cpu="10m", memory="16Mi", most_cpu="500m", most="64Mi"),
        "securityContext": {**base, "runAsUser": EXPORTER_USER},
        "volumeMounts": [{"name": "sockets", "mountPath": SOCKETS, "readOnly": True}],
    }
