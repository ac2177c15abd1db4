from __future__ import annotations

from typing import Any

import pulumi

from components import postgres
from components.storage import S3Access
from components.tracking import Tracking, hosts
from stacks.schema import TrackingConfig
from tests.harness import ADDRESS, SEED, Lab, deploy


def tracking(*, seed: str = SEED, keys: str = "keys") -> Lab:
    def program() -> None:
        found = Tracking(
            "tracking",
            TrackingConfig(capacity="5Gi", bucket="mlflow"),
            namespace="lab",
            image=lambda name: f"images/{name}:1",
            storage_class=None,
            seed=pulumi.Output.secret(seed),
            artifacts=S3Access(
                "http://minio:9000",
                "us-east-1",
                pulumi.Output.from_input("storage-tracking"),
                pulumi.Output.from_input(keys),
            ),
        )
        pulumi.export("url", found.url)

    return deploy(program)


def environment(lab: Lab) -> dict[str, Any]:
    [container] = lab.one("Deployment", "mlflow").spec["template"]["spec"]["containers"]
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container["env"]}


def test_the_server_answers_at_the_address_that_is_shown() -> None:
    lab = tracking()

    assert lab.exports["url"] == f"http://{ADDRESS}:5000"
    for name in ("mlflow", "mlflow.lab", "mlflow.lab.svc", "localhost", ADDRESS):
        assert f"{name}:5000" in hosts("lab", ADDRESS)
    allowed = environment(lab)["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert allowed == hosts("lab", ADDRESS)


def test_its_own_pages_may_change_what_they_show() -> None:
    origins = environment(tracking())["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(",")

    assert f"http://{ADDRESS}:5000" in origins
    assert "*" not in "".join(origins)


def test_runs_are_kept_in_the_database_and_files_in_the_store() -> None:
    lab = tracking()
    found = environment(lab)

    uri = found["MLFLOW_BACKEND_STORE_URI"]["secretKeyRef"]
    secret = lab.one("Secret", uri["name"]).inputs["stringData"]
    service = lab.one("Service", "postgres")
    assert secret[uri["key"]] == (
        f"postgresql+psycopg2://mlflow:{secret['password']}@postgres:"
        f"{service.spec['ports'][0]['port']}/mlflow"
    )
    assert found["MLFLOW_S3_ENDPOINT_URL"] == "http://minio:9000"
    [container] = lab.one("Deployment", "mlflow").spec["template"]["spec"]["containers"]
    assert "--artifacts-destination=s3://mlflow" in container["args"]


def test_clients_cannot_make_the_server_run_their_code() -> None:
    assert environment(tracking())["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_the_server_starts_when_the_database_answers() -> None:
    lab = tracking()

    [server] = [d for d in lab.declared if d.name == "tracking-server"]
    assert "tracking-database" in server.dependencies


def test_the_volume_is_as_large_as_the_stack_says() -> None:
    [volume] = tracking().all("PersistentVolumeClaim")

    assert volume.spec["resources"]["requests"] == {"storage": "5Gi"}


def test_another_password_restarts_both_ends_and_another_key_only_one() -> None:
    def marks(lab: Lab) -> list[str]:
        return [
            metadata["annotations"]["labfactory.io/credentials"]
            for _, metadata, _ in sorted(lab.pods(), key=lambda found: found[0].name)
        ]

    database, server = marks(tracking())
    assert marks(tracking(keys="other")) != [database, server]
    assert marks(tracking(keys="other"))[0] == database
    assert set(marks(tracking(seed=SEED[::-1]))).isdisjoint({database, server})


def test_the_password_reaches_the_engine_marked_secret() -> None:
    [secret] = tracking().all("Secret")

    assert "stringData" in secret.secrets


def test_nobody_comes_into_the_database_without_a_password() -> None:
    assert "trust" not in postgres.START
    assert "--auth-host=reject" in postgres.START
    assert "--auth-local=peer" in postgres.START
    assert "scram-sha-256" in postgres.START


def test_the_database_has_time_to_write_everything_down() -> None:
    spec = tracking().one("StatefulSet", "postgres").spec["template"]["spec"]

    assert spec["terminationGracePeriodSeconds"] >= 30
    # The shell must be gone: signals go to the first process.
    assert postgres.START.rstrip().splitlines()[-2].startswith("exec postgres")


def test_two_servers_never_write_to_the_same_tables() -> None:
    strategy = tracking().one("Deployment", "mlflow").spec["strategy"]

    assert strategy == {"type": "Recreate"}
