from __future__ import annotations

import base64
import json
from datetime import date
from pathlib import Path
from typing import Any

import pulumi
import pytest
from cryptography import x509

from components import contour, credentials, kserve, manifests
from components.manifests import render
from components.platform import Platform, first_address
from labfactory import paths
from stacks.schema import OwnPlatform, SharedPlatform
from tests.harness import ADDRESS, SEED, Declared, Lab, deploy

ISSUED = date(2026, 11, 21)
CONTROLLER = "platform-deployment-kserve-controller-manager"


def platform(
    config: OwnPlatform | SharedPlatform | None = None, *, issued: date = ISSUED
) -> Lab:
    def program() -> None:
        found = Platform(
            "platform",
            config or OwnPlatform(kind="own"),
            image=lambda name: f"images/{name}:1",
            seed=pulumi.Output.secret(SEED),
            issued=issued,
        )
        pulumi.export("address", found.gateway.address)
        pulumi.export("gateway", [found.gateway.namespace, found.gateway.name])
        pulumi.export("routes", [each.urn for each in found.gateway.ready])
        pulumi.export("models", [each.urn for each in found.models_ready])

    return deploy(program)


@pytest.fixture(scope="module")
def own() -> Lab:
    return platform()


def named(lab: Lab, name: str) -> Declared:
    [found] = [d for d in lab.declared if d.name == name]
    return found


def before(lab: Lab, name: str) -> set[str]:
    """Everything that is there before the resource `name` is made."""
    found: set[str] = set()
    todo = [name]
    while todo:
        new = named(lab, todo.pop()).dependencies - found
        found |= new
        todo += new
    return found


def kinds(lab: Lab, names: set[str]) -> set[str]:
    return {named(lab, name).kind for name in names}


def test_definitions_are_established_before_anything_that_needs_them(own: Lab) -> None:
    for definition in own.all("CustomResourceDefinition"):
        annotations = definition.metadata["annotations"]
        assert annotations["pulumi.com/waitFor"] == "condition=Established"
    for name in (
        CONTROLLER,
        "platform-deployment-contour",
        "platform-gatewayclass-lab",
        "platform-clusterstoragecontainer-default",
    ):
        assert "CustomResourceDefinition" in kinds(own, before(own, name)), name


def test_webhooks_are_registered_once_somebody_answers_them(own: Lab) -> None:
    webhooks = [d for d in own.declared if d.kind.endswith("WebhookConfiguration")]

    assert len(webhooks) == 6
    for webhook in webhooks:
        assert CONTROLLER in webhook.dependencies
        for hook in webhook.inputs["webhooks"]:
            target = hook["clientConfig"]["service"]
            assert f"{target['name']}.{target['namespace']}.svc" in kserve.HOSTS
            assert own.one("Service", target["name"])


def test_models_wait_for_the_webhooks_and_routes_for_the_gateway(own: Lab) -> None:
    models = {urn.rpartition("::")[2] for urn in own.exports["models"]}
    routes = {urn.rpartition("::")[2] for urn in own.exports["routes"]}

    assert kinds(own, models) == {
        "ClusterStorageContainer",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    }
    assert routes == {"platform-gateway-lab"}
    assert {"platform-deployment-contour", "platform-deployment-envoy"} <= before(
        own, "platform-gateway-lab"
    )


def test_models_do_not_wait_for_the_gateway(own: Lab) -> None:
    for urn in own.exports["models"]:
        waits = before(own, urn.rpartition("::")[2])
        assert not [name for name in waits if "contour" in name or "envoy" in name]


def test_the_api_server_can_verify_the_webhooks(own: Lab) -> None:
    data = own.one("Secret", kserve.CERTIFICATE).inputs["data"]
    leaf = x509.load_pem_x509_certificate(base64.b64decode(data["tls.crt"]))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)

    assert set(names.value.get_values_for_type(x509.DNSName)) == set(kserve.HOSTS)
    for webhook in own.all("ValidatingWebhookConfiguration"):
        for hook in webhook.inputs["webhooks"]:
            bundle = base64.b64decode(hook["clientConfig"]["caBundle"])
            leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(bundle))


def test_envoy_and_contour_believe_each_other(own: Lab) -> None:
    authorities = set()
    for server in ("contour", "envoy"):
        data = own.one("Secret", f"{server}cert").inputs["data"]
        leaf = x509.load_pem_x509_certificate(base64.b64decode(data["tls.crt"]))
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert server in names.value.get_values_for_type(x509.DNSName)
        authorities.add(data["ca.crt"])

    assert len(authorities) == 1


def test_a_renewed_certificate_reaches_those_who_use_it(own: Lab) -> None:
    def marks(lab: Lab) -> dict[str, str]:
        return {
            found.name: metadata["annotations"]["labfactory.io/certificate"]
            for found, metadata, _ in lab.pods()
        }

    renewed = platform(issued=date(2028, 1, 1))

    assert marks(platform()) == marks(own)
    assert not set(marks(renewed).values()) & set(marks(own).values())


def test_the_private_keys_reach_the_engine_marked_secret(own: Lab) -> None:
    key = credentials.certificate(SEED, "webhook", kserve.HOSTS, ISSUED).key
    data = own.one("Secret", kserve.CERTIFICATE)

    assert base64.b64decode(data.inputs["data"]["tls.key"]).decode() == key
    assert all("data" in found.secrets for found in own.all("Secret"))
    for webhook in own.all("ValidatingWebhookConfiguration"):
        assert not webhook.secrets  # what anybody may see stays readable in a diff


def test_the_gateway_shows_the_address_of_the_proxy(own: Lab) -> None:
    [container] = own.one("Deployment", "contour").spec["template"]["spec"][
        "containers"
    ]

    assert own.exports["address"] == ADDRESS
    assert f"--ingress-status-address={ADDRESS}" in container["args"]


def test_kserve_keeps_its_hands_off_its_own_pods(own: Lab) -> None:
    namespace = own.one("Namespace", kserve.NAMESPACE)
    [mutating] = own.all("MutatingWebhookConfiguration")
    [pods] = [h for h in mutating.inputs["webhooks"] if "pod-mutator" in h["name"]]

    [expression] = pods["namespaceSelector"]["matchExpressions"]
    assert expression == {"key": "control-plane", "operator": "DoesNotExist"}
    assert "control-plane" in namespace.metadata["labels"]


def test_kserve_s_settings_have_what_its_webhook_parses_for_every_pod(own: Lab) -> None:
    data = own.one("ConfigMap", "inferenceservice-config").inputs["data"]

    for name in ("logger", "batcher", "agent", "router", "storageInitializer"):
        found = json.loads(data[name])
        assert {"cpuRequest", "cpuLimit", "memoryRequest", "memoryLimit"} <= set(found)
    rollout = json.loads(data["deploy"])["deploymentRolloutStrategy"]["defaultRollout"]
    assert all(value.endswith("%") for value in rollout.values())


def test_a_model_is_fetched_without_privileges() -> None:
    container: dict[str, Any] = kserve.storage_container("lab:1")["spec"]["container"]

    context = container["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert set(container["resources"]) == {"requests", "limits"}


def test_a_shared_platform_is_used_and_left_as_it_is() -> None:
    lab = platform(SharedPlatform(kind="shared", gateway="gateways/public"))

    assert not lab.objects()
    assert lab.exports == {
        "address": ADDRESS,
        "gateway": ["gateways", "public"],
        "routes": [],
        "models": [],
    }


def test_a_gateway_without_an_address_has_none() -> None:
    assert first_address(None) == ""
    assert first_address({"addresses": []}) == ""
    assert first_address({"addresses": [{"value": "10.0.0.1"}]}) == "10.0.0.1"


def test_contour_watches_only_kinds_that_are_defined() -> None:
    defined = {found["spec"]["names"]["plural"] for found in manifests.load("gateway")}
    [role] = [f for f in manifests.load("contour") if f["kind"] == "ClusterRole"]
    groups = ("gateway.networking.k8s.io", "projectcontour.io")
    known = {
        resource
        for rule in role["rules"]
        if rule["apiGroups"][0] in groups
        for resource in rule["resources"]
        if "/" not in resource
    }

    assert defined == render.USED | render.WATCHED
    # It reads that one only when it is told to take its settings from there.
    assert known - {"contourconfigurations"} == defined | set(contour.UNUSED)


def test_definitions_that_are_used_still_refuse_mistakes_and_fill_in_defaults() -> None:
    text = {f["metadata"]["name"]: json.dumps(f) for f in manifests.load("gateway")}

    for name in render.USED:
        found = text[f"{name}.gateway.networking.k8s.io"]
        assert '"required"' in found, name
        assert "preserve-unknown-fields" not in found, name
    assert '"default": 1' in text["httproutes.gateway.networking.k8s.io"]


def test_a_field_that_is_called_description_is_not_lost() -> None:
    schema = {
        "description": "for people",
        "properties": {
            "description": {"type": "string", "description": "for people"},
            "properties": {"properties": {"description": {"type": "string"}}},
        },
    }

    assert render._undescribed(schema) == {
        "properties": {
            "description": {"type": "string"},
            "properties": {"properties": {"description": {"type": "string"}}},
        }
    }


@pytest.mark.parametrize(
    ("file", "project"),
    [
        ("contour", render.CONTOUR),
        ("gateway", render.CONTOUR),
        ("kserve", render.KSERVE),
        ("kserve-definitions", render.KSERVE),
        ("kserve-webhooks", render.KSERVE),
    ],
)
def test_the_manifests_are_of_the_version_that_is_built(
    file: str, project: tuple[str, str]
) -> None:
    found = json.loads((manifests.FOLDER / f"{file}.json").read_text())

    assert found["source"] == f"{project[1]} {render.version(project)}"


def test_the_manifests_are_what_their_projects_say() -> None:
    modules = paths.cache() / "go" / "mod"
    sources = [
        modules / f"{p[1]}@{render.version(p)}" for p in (render.KSERVE, render.CONTOUR)
    ]
    if not all(source.is_dir() for source in sources):
        pytest.skip("the projects' Go modules are not on this machine")

    assert render.render(modules) == {
        path.name: path.read_text() for path in Path(manifests.FOLDER).glob("*.json")
    }
