"""The drill: a restore into a store and a database that end with the pod. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components import keeper, minio, objects, postgres
from components.pods import resources, restricted, secret_key
from components.storage import Keys

HOST = "127.0.0.1"
LONGEST_SECONDS = 6 * 3600


def secrets(
    store: pulumi.Output[Keys], password: pulumi.Output[str]
) -> list[dict[str, Any]]:
    """The Secrets of the drill's own store and database."""
    key_id = store.apply(lambda found: found.key_id)
    return [
        minio.root_secret(key_id, store.apply(lambda found: found.secret)),
        objects.secret(postgres.NAME, {"password": password}),
    ]


def schedule(every_days: int) -> str:
    """Cron's fields for a drill at least every so many days: each month begins anew."""
    return f"30 3 */{every_days} * *"


def cron_job(
    image: str,
    database_image: str,
    *,
    told: Mapping[str, Any],
    every_days: int,
    size: str,
) -> dict[str, Any]:
    """The CronJob of the drill; its volumes hold `size` each, and nothing outlives it.

    Store and database are those of a lab, beside the container that restores.
    """
    told = {
        **told,
        "STORE_ENDPOINT": f"http://{HOST}:{minio.PORT}",
        "STORE_REGION": minio.REGION,
        "STORE_KEY_ID": secret_key(minio.ROOT_SECRET, "MINIO_ROOT_USER"),
        "STORE_SECRET": secret_key(minio.ROOT_SECRET, "MINIO_ROOT_PASSWORD"),
        **keeper.told_of_database(
            postgres.ROLE, secret_key(postgres.NAME, "password"), HOST
        ),
    }
    container = {
        **keeper.errand("drill", image, told),
        "resources": resources(cpu="100m", memory="512Mi", most_cpu="2", most="3Gi"),
    }
    volumes = [
        *(
            {"name": name, "emptyDir": {"sizeLimit": size}}
            for name in ("staging", "objects", "data")
        ),
        postgres.sockets(),
        {"name": "secret", "secret": {"secretName": postgres.NAME}},
    ]
    spec = keeper.keeper_pod(
        container,
        initContainers=[_store(image), _database(database_image)],
        volumes=volumes,
    )
    return keeper.cron_job(
        "drill",
        spec,
        schedule=schedule(every_days),
        missed_seconds=86_400,
        longest_seconds=LONGEST_SECONDS,
        # A pod that was evicted is no failed restore.
        retries=1,
    )


def _store(image: str) -> dict[str, Any]:
    [server] = minio.server(image, None, None)["spec"]["template"]["spec"]["containers"]
    mounts = [
        {**mount, "name": "objects"} if mount["name"] == "data" else mount
        for mount in server["volumeMounts"]
    ]
    return _beside("store", {**server, "volumeMounts": mounts})


def _database(image: str) -> dict[str, Any]:
    # Its superuser is whoever is that one in the pod.
    user = {"runAsUser": postgres.USER, "runAsGroup": postgres.USER}
    return _beside("database", postgres.container(image), **user)


def _beside(name: str, server: Mapping[str, Any], **security: Any) -> dict[str, Any]:
    """A server as a sidecar: there before the restore begins, gone after its end."""
    base = restricted(server)
    return {
        **base,
        "name": name,
        "restartPolicy": "Always",
        "securityContext": {**base["securityContext"], **security},
    }
