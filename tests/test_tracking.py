from __future__ import annotations

import re
from typing import Any

import pulumi
import pytest

from components import postgres
from components.storage import S3Access
from components.tracking import Tracking, hosts
from stacks.schema import TrackingConfig
from tests.harness import ADDRESS, SEED, Lab, deploy


def tracking(
    *,
    seed: str = SEED,
    keys: str = "keys",
    watched: bool = False,
    backed_up: bool = False,
) -> Lab:
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
            watched=watched,
            backed_up=backed_up,
        )
        pulumi.export("url", found.url)
        pulumi.export("keeper", found.keeper)

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
    assert "trust" not in postgres.start()
    assert "--auth-host=reject" in postgres.start()
    assert "--auth-local=peer" in postgres.start()
    assert "scram-sha-256" in postgres.start()


def test_who_copies_the_database_comes_in_by_a_password_of_its_own() -> None:
    lab = tracking(backed_up=True)

    secret = lab.one("Secret", lab.exports["keeper"])
    assert "stringData" in secret.secrets
    [password] = secret.inputs["stringData"].values()
    assert password != lab.one("Secret", "postgres").inputs["stringData"]["password"]
    text = postgres.start(backed_up=True)
    assert '"host $DATABASE $KEEPER all scram-sha-256"' in text
    assert "GRANT pg_read_all_data TO $KEEPER" in text


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
def test_the_server_finds_the_password_of_every_role_that_it_lets_in(
    watched: bool,
) -> None:
    lab = tracking(backed_up=True, watched=watched)

    spec = lab.one("StatefulSet", "postgres").spec["template"]["spec"]
    [server] = [each for each in spec["containers"] if each["name"] == "postgres"]
    asked = set(re.findall(r"/run/secrets/postgres/([\w-]+)", server["command"][-1]))
    [volume] = [each for each in spec["volumes"] if each["name"] == "secret"]
    names = [each["secret"]["name"] for each in volume["projected"]["sources"]]
    there = {
        key for name in names for key in lab.one("Secret", name).inputs["stringData"]
    }
    assert asked == there - {"uri"}
    variables = {each["name"] for each in server["env"]}
    assert set(re.findall(r"\$([A-Z]+)\b", server["command"][-1])) <= variables


def test_a_lab_without_backups_has_no_role_for_them() -> None:
    lab = tracking()

    assert lab.exports.get("keeper") is None
    assert [each.metadata["name"] for each in lab.all("Secret")] == ["postgres"]
    assert "KEEPER" not in str(lab.one("StatefulSet", "postgres").spec)


def test_the_database_has_time_to_write_everything_down() -> None:
    spec = tracking().one("StatefulSet", "postgres").spec["template"]["spec"]

    assert spec["terminationGracePeriodSeconds"] >= 30
    # The shell must be gone: signals go to the first process.
    assert postgres.start().rstrip().splitlines()[-2].startswith("exec postgres")


def test_two_servers_never_write_to_the_same_tables() -> None:
    strategy = tracking().one("Deployment", "mlflow").spec["strategy"]

    assert strategy == {"type": "Recreate"}
