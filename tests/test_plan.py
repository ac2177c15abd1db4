from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import model_templates
from components.manifest import type_token
from labfactory.agreements.clauses import Clause
from labfactory.errors import LabError
from labfactory.releases.planning import applied, meaning, promised, shown
from labfactory.releases.planning import plan as plans
from labfactory.releases.planning.document import document
from labfactory.releases.planning.meaning import Amounts, Variant
from labfactory.releases.planning.plan import Plan, judge
from labfactory.releases.planning.way_back import Difference, Unknown
from policies.rules.costs import total
from stacks.schema import LabConfig, ReleaseConfig
from tests.harness import example

GOLDEN = Path(__file__).parent / "golden"
STACK = "urn:pulumi:demo::labfactory::pulumi:pulumi:Stack::labfactory-demo"
ROOMS = "urn:pulumi:demo::labfactory::labfactory:components:Room::"
GIB = 2**30
TODAY = date(2026, 11, 21)
ROOM = Amounts(4, 8 * GIB)

Release = dict[str, Any]
Lab = dict[str, Release]


def variant(version: int, role: str, traffic: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "version": version,
        "artifact": f"s3://mlflow/1/models/m-{version:032x}/artifacts",
        "digest": f"sha256:{version:064x}",
        "role": role,
        "traffic": traffic,
        **more,
    }


def release(*variants: dict[str, Any], **more: Any) -> Release:
    named = {f"v{each['version']}": each for each in variants}
    return {"template": "mlflow", "variants": named, **more}


STABLE = release(variant(3, "stable", 100))
CANARY = release(variant(3, "stable", 90), variant(4, "candidate", 10))
HALF = release(variant(3, "stable", 50), variant(4, "candidate", 50))
PROMOTED = release(variant(3, "previous"), variant(4, "stable", 100))
JUMP = release(variant(4, "stable", 100))
CANARY_LAB, HALF_LAB = {"iris": CANARY}, {"iris": HALF}


def volume(storage_class: str = "fast") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "minio-data", "namespace": "demo"},
        "spec": {"storageClassName": storage_class},
    }


def manifests(lab: Lab) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the program declares for releases, by logical name."""
    for name, settings in lab.items():
        config = ReleaseConfig.model_validate(settings)
        template = model_templates.load(config.template)
        runtime = model_templates.serving_runtime(template, image="localhost/lab:1")
        used = runtime["metadata"]["name"]
        yield f"serving-runtime-{used}", runtime
        for key in config.variants:
            yield (
                f"serving-service-{name}-{key}",
                model_templates.inference_service(
                    name,
                    config,
                    key,
                    runtime=used,
                    service_account="models",
                ),
            )
        route = model_templates.http_route(
            name, config, lab="demo", gateway="projectcontour/lab"
        )
        yield f"serving-route-{name}", route


def step(
    name: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    *,
    forced: tuple[str, ...] = (),
) -> dict[str, Any]:
    """One step, as `pulumi preview --json --show-sames` writes it."""
    token = type_token(before or after or {})
    urn = f"urn:pulumi:demo::labfactory::{token}::{name}"
    op = "same" if before == after else "update"
    op = "create" if before is None else "delete" if after is None else op
    found: dict[str, Any] = {
        "op": "replace" if forced else op,
        "urn": urn,
        "provider": "urn:pulumi:demo::labfactory::pulumi:providers:kubernetes::k::1",
        "detailedDiff": None,
    }
    for key, inputs in (("oldState", before), ("newState", after)):
        if inputs is not None:
            found[key] = {
                "urn": urn,
                "custom": True,
                "type": token,
                "inputs": inputs,
                "parent": f"{ROOMS}{name.partition('-')[0]}",
            }
    if op == "update":
        paths = dict.fromkeys(differing(before, after))
        found["diffReasons"] = sorted({path.split(".")[0] for path in paths})
        found["detailedDiff"] = {
            path: {"kind": "update", "inputDiff": True} for path in paths
        }
    if forced:
        found["replaceReasons"] = [*forced]
    return found


def differing(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*one, *other]):
            below = f"{path}.{key}".lstrip(".")
            yield from differing(one.get(key), other.get(key), below)
    elif isinstance(one, list) and isinstance(other, list):
        for index in range(max(len(one), len(other))):
            left, right = [
                side[index] if index < len(side) else None for side in (one, other)
            ]
            yield from differing(left, right, f"{path}[{index}]")
    elif one != other:
        yield path


def preview(before: Lab, after: Lab, *more: dict[str, Any]) -> dict[str, Any]:
    """The preview of the change from one lab to another, with `more` steps."""
    old, new = dict(manifests(before)), dict(manifests(after))
    component = "labfactory:components:Serving"
    state = {"type": component, "custom": False, "inputs": {}}
    outputs = {"tracking_url": "http://198.18.0.10:5000"}
    root = {"type": "pulumi:pulumi:Stack", "custom": False, "outputs": outputs}
    steps = [
        {"op": "same", "urn": STACK, "oldState": root, "newState": root},
        {
            "op": "same",
            "urn": f"urn:pulumi:demo::labfactory::{component}::serving",
            "oldState": state,
            "newState": state,
        },
        *(
            step(name, old.get(name), new.get(name))
            for name in dict.fromkeys([*old, *new])
        ),
        *more,
    ]
    ops = [each["op"] for each in steps]
    summary = {op: ops.count(op) for op in dict.fromkeys(ops)}
    return {"steps": steps, "changeSummary": summary}


@dataclass(frozen=True)
class Contract:
    kind: str
    columns: tuple[str, ...] = ()


@dataclass
class Known:
    """Facts of a lab in which all is well unless said, and what was asked."""

    unready: tuple[str, ...] = ()
    store: Mapping[str, str] | None = None
    images: bool = True
    room: Amounts = ROOM
    contracts: Mapping[tuple[int, int], Difference] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tracking_url: str | None = None

    def ready(self, service: str) -> bool:
        self.asked.append(service)
        return service not in self.unready

    def artifact_digest(self, artifact: str) -> str | None:
        self.asked.append(artifact)
        if self.store is not None:
            return self.store.get(artifact)
        number = int(artifact.split("/m-")[1].split("/")[0], 16)
        return f"sha256:{number:064x}"

    def image_present(self, image: str) -> bool:
        self.asked.append(image)
        return self.images

    def free(self) -> Amounts:
        return self.room

    def difference(self, release: str, old: Variant, new: Variant) -> Difference:
        assert old.version
        assert new.version
        self.asked.append(f"{release} {old.version}-{new.version}")
        return self.contracts.get((old.version, new.version), Contract("same"))


def settings_of(lab: Lab, **sections: Any) -> LabConfig:
    """The example's settings, with other releases and `sections`."""
    return LabConfig.model_validate(example(releases=lab, **sections))


BREAKING = {(3, 4): Contract("breaking", ("column 'sepal_width' is required now",))}


def planned(
    before: Release | None,
    after: Release | None,
    *more: dict[str, Any],
    facts: Known | None = None,
    **choices: Any,
) -> Plan:
    """The plan of a lab with one release, `iris`."""
    then = {"iris": after} if after else {}
    return judge(
        "demo",
        meaning.read(preview({"iris": before} if before else {}, then, *more)),
        {name: ReleaseConfig.model_validate(each) for name, each in then.items()},
        facts or Known(),
        **choices,
    )


def changed(plan: Plan) -> list[str]:
    [iris] = plan.releases
    return [f"{found.op} {found.ref}" for found in iris.change.changed]


def test_without_a_change_there_is_nothing_to_do_and_nothing_is_asked() -> None:
    facts = Known()

    plan = planned(CANARY, CANARY, facts=facts)

    assert (plan.exit_code, plan.releases, plan.refusals) == (0, (), ())
    assert facts.asked == []


def test_a_preview_that_leaves_out_what_stays_is_not_taken_for_the_whole() -> None:
    whole = preview(CANARY_LAB, HALF_LAB)
    steps = [s for s in whole["steps"] if s["op"] != "same" or s["urn"] == STACK]

    with pytest.raises(LabError, match="--show-sames"):
        meaning.read({**whole, "steps": steps})


def test_a_plan_asks_pulumi_once_and_the_cluster_about_what_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = Known()

    class Live:
        tracking_url = None

        def __init__(self, settings: Any) -> None:
            assert "iris" in settings.releases

        def __enter__(self) -> Known:
            return facts

        def __exit__(self, *error: object) -> None:
            pass

    class Stack:
        def __init__(self, name: str) -> None:
            self.settings = settings_of(HALF_LAB)

        def preview(self, *, drill: Any, judged: bool) -> dict[str, Any]:
            advised = {"rule": "owner-label", "level": "advisory", "told": "x: y; z"}
            return {**preview(CANARY_LAB, HALF_LAB), "policies": [advised]}

    monkeypatch.setattr(plans, "Live", Live)
    monkeypatch.setattr(plans, "Stack", Stack)
    monkeypatch.setattr(plans, "applied", lambda stack: settings_of(CANARY_LAB))

    found = plans.plan("demo")

    assert found.exit_code == 2
    assert found.costs
    assert "x: y; z" in found.notes
    assert facts.tracking_url == "http://198.18.0.10:5000"
    assert facts.asked == ["iris-v4"]


def test_a_weight_change_is_the_route_alone_and_restarts_nothing() -> None:
    plan = planned(CANARY, HALF)

    assert plan.exit_code == 2
    assert changed(plan) == ["update HTTPRoute/iris"]
    [iris] = plan.releases
    assert not any(found.restarts for found in iris.change.changed)
    assert iris.change.before
    assert iris.change.after
    assert iris.change.before.traffic.weights == {"v3": 90, "v4": 10}
    assert iris.change.after.traffic.weights == {"v3": 50, "v4": 50}


def test_releases_that_stay_as_they_are_are_not_asked_about() -> None:
    facts = Known()
    lab = {f"r{number}": CANARY for number in range(100)}
    changes = meaning.read(preview(lab, {**lab, "r7": HALF}))

    plan = judge("demo", changes, {"r7": ReleaseConfig.model_validate(HALF)}, facts)

    assert [found.change.name for found in plan.releases] == ["r7"]
    assert facts.asked == ["r7-v4"]


def test_memory_and_replicas_are_counted_on_both_sides() -> None:
    plan = planned(STABLE, {**CANARY, "replicas": 2})

    [iris] = plan.releases
    before, after = iris.change.before, iris.change.after
    assert before
    assert after
    assert (before.replicas, after.replicas) == (1, 4)
    assert (before.needs.memory, after.needs.memory) == (GIB / 2, 2 * GIB)


def test_more_predictors_restart_none_and_another_limit_restarts_all() -> None:
    more = planned(STABLE, {**STABLE, "replicas": 2}).releases[0].change.changed
    limits = {"limits": {"memory": "3Gi"}}
    larger = planned(STABLE, {**STABLE, "resources": limits}).releases[0].change.changed

    assert [found.restarts for found in more] == [False]
    assert [found.restarts for found in larger] == [True]


def test_shadows_matches_and_the_stable_variant_are_read_back_from_the_route() -> None:
    settings = release(
        variant(3, "stable", 70),
        variant(4, "candidate", 30),
        variant(5, "shadow", mirror=100),
        variant(6, "shadow", mirror=25),
        variant(7, "candidate", match={"header": "x-tier", "value": "gold"}),
        sticky="x-bucket",
    )

    [iris] = planned(STABLE, settings).releases

    assert iris.change.after
    traffic = iris.change.after.traffic
    assert traffic.stable == "v3"
    assert traffic.weights == {"v3": 70, "v4": 30, "v7": 0}
    assert traffic.mirrors == {"v5": 100, "v6": 25}
    assert traffic.matches["v7"] == ("x-tier = gold",)
    assert traffic.answers("v7")
    assert not traffic.answers("v5")


@pytest.mark.parametrize("percent", range(1, 101))
def test_any_per_cent_of_copies_is_read_back(percent: int) -> None:
    settings = release(variant(3, "stable", 100), variant(5, "shadow", mirror=percent))

    [iris] = planned(None, settings).releases

    assert iris.change.after
    assert iris.change.after.traffic.mirrors == {"v5": percent}


def test_a_volume_that_would_be_replaced_is_refused_unless_named() -> None:
    lost = step("storage-data", volume(), volume("slow"), forced=("spec",))

    refused = planned(STABLE, STABLE, lost)
    named = planned(STABLE, STABLE, lost, lose=["persistentvolumeclaim/minio-data"])

    assert refused.exit_code == 1
    [text] = refused.refusals
    assert "--lose PersistentVolumeClaim/minio-data" in text
    assert named.exit_code == 2


@pytest.mark.parametrize(
    ("kind", "loses"),
    [("Namespace", True), ("StatefulSet", True), ("Job", False), ("Secret", False)],
)
def test_what_holds_data_is_not_deleted_by_accident(kind: str, loses: bool) -> None:
    gone = {**volume(), "kind": kind}

    assert bool(planned(STABLE, STABLE, step("x", gone, None)).refusals) is loses


def test_what_pulumi_leaves_in_the_cluster_is_not_lost() -> None:
    kept = step("storage-data", volume(), None)
    kept["oldState"]["retainOnDelete"] = True

    assert planned(STABLE, STABLE, kept).refusals == ()


def test_a_replacement_may_come_as_two_steps() -> None:
    gone = {**step("storage-data", volume(), None), "op": "delete-replaced"}
    made = {**step("storage-data", None, volume("slow")), "op": "create-replacement"}

    for steps in ((gone, made), (made, gone)):
        [found] = planned(STABLE, STABLE, *steps).others
        assert (found.op, found.loses_data) == ("replace", True)
        assert found.before["spec"] != found.after["spec"]


def test_a_variant_that_is_not_ready_gets_no_more_requests() -> None:
    facts = Known(unready=("iris-v4",))

    plan = planned(CANARY, HALF, facts=facts)

    assert plan.exit_code == 1
    [text] = plan.refusals
    assert "variant 'v4'" in text
    assert "projectcontour/contour/issues/1119" in text


def test_a_variant_that_is_not_ready_may_lose_requests() -> None:
    assert planned(HALF, CANARY, facts=Known(unready=("iris-v4",))).exit_code == 2


def test_a_new_variant_is_waited_for_and_not_asked_about() -> None:
    facts = Known(unready=("iris-v4",))

    assert planned(STABLE, CANARY, facts=facts).exit_code == 2
    assert "iris-v4" not in facts.asked


def test_a_match_is_a_share_of_the_requests_too() -> None:
    idle = release(variant(3, "stable", 100), variant(4, "candidate"))
    match = {"header": "x-tier", "value": "gold"}
    matched = release(variant(3, "stable", 100), variant(4, "candidate", match=match))

    assert planned(idle, matched, facts=Known(unready=("iris-v4",))).exit_code == 1


def test_a_breaking_contract_is_refused_with_its_columns() -> None:
    plan = planned(STABLE, CANARY, facts=Known(contracts=BREAKING))

    [text] = plan.refusals
    assert "column 'sepal_width' is required now" in text
    assert "accept_breaking" in text


def test_a_breaking_contract_is_accepted_for_a_reason() -> None:
    accepted = release(
        variant(3, "stable", 90),
        variant(4, "candidate", 10, accept_breaking="callers send it already"),
    )

    plan = planned(STABLE, accepted, facts=Known(contracts=BREAKING))

    assert plan.exit_code == 2
    assert plan.releases[0].contracts["v4"].kind == "breaking"


def test_a_shadow_may_break_the_contract() -> None:
    shadow = release(variant(3, "stable", 100), variant(4, "shadow", mirror=100))

    assert planned(STABLE, shadow, facts=Known(contracts=BREAKING)).exit_code == 2


def test_a_contract_is_looked_up_when_a_model_is_new_and_when_it_is_promoted() -> None:
    for before, after, asked in (
        (STABLE, CANARY, True),
        (CANARY, HALF, False),
        (CANARY, PROMOTED, True),
    ):
        facts = Known()
        planned(before, after, facts=facts)
        assert ("iris 3-4" in facts.asked) is asked


def test_a_contract_that_nobody_knows_is_said_and_not_refused() -> None:
    class Silent(Known):
        def difference(self, release: str, old: Variant, new: Variant) -> Difference:
            raise LabError("model 'iris': has no signature")

    plan = planned(STABLE, CANARY, facts=Silent())

    assert plan.exit_code == 2
    found = plan.releases[0].contracts["v4"]
    assert found == Unknown(("model 'iris': has no signature",))


def test_no_contract_is_in_the_way_of_a_rollback() -> None:
    gone_wrong = variant(4, "rejected", because="it is slow")
    rolled_back = release(variant(3, "stable", 100), gone_wrong)
    both = {(4, 3): BREAKING[3, 4], **BREAKING}

    for before in (PROMOTED, CANARY):
        plan = planned(before, rolled_back, facts=Known(contracts=both))
        assert plan.exit_code == 2
        assert changed(plan) == ["update HTTPRoute/iris"]


def test_a_variant_that_answers_is_not_taken_out_by_accident() -> None:
    refused = planned(HALF, STABLE)
    named = planned(HALF, STABLE, lose=["InferenceService/iris-v4"])

    assert "variant 'v4' answers requests now" in refused.refusals[0]
    assert named.exit_code == 2


def test_a_release_that_answers_is_not_taken_out_by_accident() -> None:
    refused = planned(STABLE, None)

    assert refused.exit_code == 1
    assert planned(STABLE, None, lose=["HTTPRoute/iris"]).exit_code == 2


def test_a_trap_is_found_in_objects_that_stay_as_they_are() -> None:
    server = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "notebook"},
        "spec": {"template": {"spec": {"containers": [{"image": "jupyter:latest"}]}}},
    }

    plan = planned(STABLE, STABLE, step("notebook", server, server))

    assert plan.exit_code == 1
    assert "Deployment/notebook" in plan.refusals[0]


def test_the_number_of_pods_has_one_owner() -> None:
    server = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "api"},
        "spec": {"replicas": 3},
    }
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "api"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "api"}},
    }
    steps = [step("api", server, server), step("scaler", None, scaler)]

    assert planned(STABLE, STABLE, steps[0]).refusals == ()
    [text] = planned(STABLE, STABLE, *steps).refusals
    assert "kubernetes/kubernetes/issues/25238" in text


def test_every_refusal_is_said_at_once() -> None:
    facts = Known(unready=("iris-v3",), contracts={(4, 3): BREAKING[3, 4], **BREAKING})
    lost = step("storage-data", volume(), None)

    plan = planned(CANARY, PROMOTED, lost, facts=facts)

    assert len(plan.refusals) == 3
    for part in ("--lose", "accept_breaking", "--no-way-back"):
        assert any(part in text for text in plan.refusals)


def story() -> Plan:
    """A promotion that may not be applied, beside a new and a growing release."""
    half = release(variant(1, "stable", 50), variant(2, "candidate", 50))
    shadow = {"role": "shadow", "mirror": 25}
    fresh = release(variant(1, "stable", 100), {**variant(2, "shadow"), **shadow})
    lab = {"iris": CANARY, "wine": release(variant(1, "stable", 100))}
    wanted = {"iris": PROMOTED, "wine": half, "churn": fresh}
    columns = ("column 'sepal_width' is required now", "column 'id' is gone")
    lost = step("storage-data", volume(), volume("slow"), forced=("spec",))
    changes = meaning.read(preview(lab, wanted, lost))
    found = judge(
        "demo",
        changes,
        {name: ReleaseConfig.model_validate(each) for name, each in wanted.items()},
        Known(contracts={(3, 4): Contract("breaking", columns)}),
    )
    override = {"monthly": 8.0, "by": "vision", "because": "a trial"}
    fruit = {"monthly": 4.0, "override": {**override, "until": "2026-12-01"}}
    agreements = {
        "standard": {"cost": {"monthly": 40.0}},
        "fruit": {"covers": ["iris", "wine"], "cost": fruit},
    }
    also = promised.look(
        changes, settings_of(wanted, agreements=agreements), None, TODAY
    )
    return replace(
        found,
        costs=also.costs,
        clauses=(Clause("fruit", "cost", "4.50 EUR a month instead of 3.37"),),
        notes=also.notes,
    )


def same_as_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if not path.exists():
        path.write_text(text)
        pytest.fail(f"wrote {name}; read it, and run the test again")
    assert text == path.read_text()


def test_the_terminal_shows_what_the_golden_file_shows() -> None:
    out = StringIO()

    Console(file=out, width=100).print(shown.terminal(story()))

    text = "\n".join(line.rstrip() for line in out.getvalue().splitlines())
    same_as_golden("plan.txt", f"{text}\n")


def test_a_pull_request_shows_what_the_golden_file_shows() -> None:
    same_as_golden("plan.md", shown.markdown(story()))


def test_programs_read_what_the_golden_file_shows() -> None:
    found = document(story())

    same_as_golden("plan.json", f"{json.dumps(found, indent=2)}\n")


def test_a_column_s_name_cannot_break_the_table_of_a_pull_request() -> None:
    odd = {(3, 4): Contract("compatible", ("column 'a|b' is new", "two\nlines"))}

    text = shown.markdown(planned(STABLE, CANARY, facts=Known(contracts=odd)))

    [line] = [line for line in text.splitlines() if "compatible" in line]
    assert line.count("|") == 7


def test_the_command_prints_what_is_asked_for_and_returns_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shown, "plan", lambda lab, **choices: story())

    assert shown.show("demo", form="json") == 1
    assert json.loads(capsys.readouterr().out) == document(story())
    assert shown.show("demo", form="markdown") == 1
    assert capsys.readouterr().out == f"{shown.markdown(story())}\n"
    assert shown.show("demo") == 1
    assert "release iris: changed" in capsys.readouterr().out


def test_a_name_in_brackets_is_no_markup_at_the_terminal() -> None:
    odd = {(3, 4): Contract("compatible", ("column '[red]' is new",))}
    out = StringIO()

    plan = planned(STABLE, CANARY, facts=Known(contracts=odd))
    Console(file=out, width=160).print(shown.terminal(plan))

    assert "column '[red]' is new" in out.getvalue()


def looked(
    before: Lab,
    after: Lab,
    *more: dict[str, Any],
    drill: dict[str, Any] | None = None,
    policies: tuple[dict[str, str], ...] = (),
    **sections: Any,
) -> promised.Promised:
    """What a change means for what was promised."""
    return promised.look(
        meaning.read(preview(before, after, *more)),
        settings_of(after, **sections),
        settings_of(before, **sections),
        TODAY,
        drill=drill,
        policies=policies,
    )


def test_costs_are_told_before_and_after_by_room_and_by_release() -> None:
    twice = {"iris": {**CANARY, "replicas": 2}}
    large = volume()
    large["spec"]["resources"] = {"requests": {"storage": "100Gi"}}

    costs = looked({"iris": STABLE}, twice, step("storage-x", large, large)).costs

    assert costs
    one = 730 * (0.1 * 0.0094 + 0.5 * 0.0012)
    releases, rooms = costs.by(lambda x: x.release), costs.by(lambda x: x.room)
    assert [*releases] == ["iris"]
    assert releases["iris"] == pytest.approx((one, 4 * one))
    assert [*rooms] == ["serving", "storage"]
    assert rooms["serving"] == pytest.approx((one, 4 * one))
    assert rooms["storage"] == pytest.approx((3.33, 3.33))
    assert costs.sums == pytest.approx((one + 3.33, 4 * one + 3.33))


def test_what_goes_costs_nothing_afterwards() -> None:
    costs = looked({"iris": STABLE}, {}).costs

    assert costs
    assert costs.sums[0] > 0
    assert (costs.sums[1], total(costs.after)) == (0, 0)


def test_a_change_over_budget_is_refused_with_the_sentence_of_the_rule() -> None:
    agreements = {"standard": {"cost": {"monthly": 2.0}}}

    fits = looked({"iris": STABLE}, {"iris": STABLE}, agreements=agreements)
    over = looked({"iris": STABLE}, {"iris": CANARY}, agreements=agreements)

    assert fits.refusals == ()
    [text] = over.refusals
    assert "allows 2.00 EUR a month, and it would be 2.25, 0.25 too much" in text
    assert "`override`" in text
    assert over.costs
    [budget] = over.costs.budgets
    assert budget.left == pytest.approx(-0.2484)
    assert over.costs.agreements["standard"] == pytest.approx((1.1242, 2.2484))


@pytest.mark.parametrize("level", ["mandatory", "advisory", "off"])
def test_the_level_of_a_rule_is_the_one_that_the_settings_give_it(level: str) -> None:
    agreements = {"standard": {"cost": {"monthly": 1.0}}}
    own = {"budget": {"level": level, "because": "a trial"}}
    settings = settings_of(CANARY_LAB, agreements=agreements, policies=own)
    changes = meaning.read(preview(CANARY_LAB, CANARY_LAB))

    found = promised.look(changes, settings, settings, TODAY)

    assert len(found.refusals) == (level == "mandatory")
    assert len(found.notes) == (level == "advisory")


def test_what_the_policy_pack_has_found_too_is_said_once() -> None:
    agreements = {"standard": {"cost": {"monthly": 1.0}}}
    lab = {"iris": CANARY}
    [text] = looked(lab, lab, agreements=agreements).refusals
    pack = [
        {"rule": "budget", "level": "mandatory", "told": text},
        {"rule": "pinned", "level": "mandatory", "told": "server: is not; pin it"},
        {"rule": "owner", "level": "advisory", "told": "server: nobody; say who"},
    ]

    found = looked(lab, lab, agreements=agreements, policies=tuple(pack))

    assert found.refusals == (text, "server: is not; pin it")
    assert found.notes == ("server: nobody; say who",)


def test_a_lab_whose_prices_nobody_knows_has_a_plan_that_says_so() -> None:
    found = looked(CANARY_LAB, HALF_LAB, costs={"book": "cloud"})

    assert found.costs is None
    assert "there is no price book 'cloud'" in found.refusals[0]


def test_an_edit_names_the_clauses_that_it_touches() -> None:
    agreements = {"standard": {"cost": {"monthly": 40.0}}}

    found = looked({"iris": STABLE}, {"iris": CANARY}, agreements=agreements)

    touched = {(each.agreement, each.clause) for each in found.clauses}
    assert ("standard", "cost") in touched


def test_a_drill_that_is_too_old_is_told_and_refuses_nothing() -> None:
    backups = {"store": {"kind": "minio", "capacity": "5Gi"}, "staging": "5Gi"}
    old = {"finished": "2026-10-01T00:00:00+00:00", "ok": True}

    for drill, told in ((old, 1), ({}, 1), (None, 0)):
        found = looked(CANARY_LAB, HALF_LAB, backups=backups, drill=drill)
        assert (len(found.notes), found.refusals) == (told, ())


def test_the_settings_that_were_applied_are_those_of_the_last_success() -> None:
    def update(result: str, name: str, kind: str = "update") -> dict[str, Any]:
        value = json.dumps(example(name=name))
        config = {"labfactory:lab": {"value": value, "secret": False}}
        return {"kind": kind, "result": result, "config": config}

    updates = [
        update("failed", "third"),
        update("succeeded", "gone", kind="destroy"),
        update("succeeded", "second"),
        update("succeeded", "first"),
    ]

    found = applied.read(json.dumps(updates))

    assert found
    assert found.name == "second"
    assert applied.read("") is None
    assert applied.read("[]") is None
    assert applied.read(json.dumps([{**updates[2], "config": {}}])) is None
