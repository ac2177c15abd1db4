"""A second lab beside the first: an existing cluster, a shared platform, any S3."""

from __future__ import annotations

from base64 import b64decode

import httpx
import pytest
import yaml

from labfactory import embedded, images, labs
from labfactory.demo.story import REGRESSOR, Demo
from labfactory.stack import Stack
from tests.live_lab import core, pods, pulumi, ready

pytestmark = pytest.mark.live

SECOND = "labtest-second"


@pytest.fixture
def second(lab: Demo) -> Stack:
    """Settings of a lab on the first one's cluster, as if it were somebody else's."""
    stack = Stack(SECOND)
    settings = {
        "name": SECOND,
        "owner": "neighbours",
        "credentials_issued": lab.settings.credentials_issued,
        "cluster": {
            "target": "existing",
            "context": lab.settings.cluster.context,
            "registry": "localhost/labfactory",
        },
        "platform": {"kind": "shared", "gateway": "projectcontour/lab"},
        "storage": {
            "kind": "s3",
            "endpoint": lab.outputs["storage_url"],
            "region": "us-east-1",
            "buckets": ["mlflow"],
        },
        "tracking": {"capacity": "1Gi", "bucket": "mlflow"},
        "policies": {
            "tls-outside": {
                "level": "advisory",
                "because": "the store is in the same cluster",
            }
        },
    }
    stack.file.write_text(yaml.safe_dump({"config": {"labfactory:lab": settings}}))
    assert pulumi(lab, "stack", "init", SECOND).returncode == 0
    for consumer in ("tracking", "serving"):
        data = (
            core(lab)
            .read_namespaced_secret(f"storage-{consumer}", lab.settings.name)
            .data
        )
        for name, key in (
            (f"s3-{consumer}-key-id", "AWS_ACCESS_KEY_ID"),
            (f"s3-{consumer}-secret", "AWS_SECRET_ACCESS_KEY"),
        ):
            value = b64decode(data[key]).decode()
            done = pulumi(
                lab, "config", "set", "--secret", "--stack", SECOND, name, value
            )
            assert done.returncode == 0, done.stderr
    return stack


def test_a_second_lab_uses_the_cluster_platform_and_store_that_are_there(
    lab: Demo, second: Stack
) -> None:
    outputs = labs.stand_up(SECOND)

    assert httpx.get(f"{outputs['tracking_url']}/health").text == "OK"
    assert {ready(pod) for pod in pods(lab, SECOND)} == {True}
    assert not [p for p in pods(lab, SECOND) if p.metadata.name.startswith("minio")]
    assert outputs["gateway_url"] == lab.outputs["gateway_url"]
    assert second.changes() == {}

    second.destroy()
    assert pods(lab, SECOND) == []
    assert "answers equal" in lab.check(REGRESSOR)
    assert pulumi(lab, "stack", "rm", "--yes", SECOND).returncode == 0
    second.file.unlink(missing_ok=True)


def test_two_embedded_clusters_live_side_by_side(lab: Demo) -> None:
    alone = ("pause", "coredns", "local-path-provisioner", "postgres")
    try:
        embedded.up(
            "labtest-twin",
            lab.progress,
            load_images=lambda socket: images.load(socket, alone, lab.progress),
        )
        assert embedded.running("labtest-twin")
        assert "answers equal" in lab.check(REGRESSOR)
    finally:
        embedded.down("labtest-twin", purge=True, progress=lab.progress)
    assert embedded.leftovers("labtest-twin") == []
