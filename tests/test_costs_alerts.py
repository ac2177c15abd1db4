from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from components.alerts import costs
from labfactory.costs import measured as asking
from policies.rules.costs import rates, read_book
from stacks.schema import LabConfig
from tests.harness import ROOT, example
from tests.watching import run

CASE = ROOT / "tests" / "alerts" / "costs.yaml"
STANDARD: dict[str, Any] = {"cost": {"monthly": 100.0}}
RATES = rates(read_book("on-prem"), {})


BACKUPS = {"store": {"kind": "minio", "capacity": "5Gi"}, "staging": "5Gi"}


def lab(**agreements: Any) -> LabConfig:
    return LabConfig.model_validate(example(agreements=agreements, backups=BACKUPS))


def rules(settings: LabConfig) -> dict[str, Any]:
    records = [
        {"record": name, "expr": expr}
        for name, expr in costs.recorded(settings, RATES).items()
    ]
    told = [alert.rule(settings.name) for alert in costs.alerts(settings)]
    return {"groups": [{"name": "costs", "rules": [*records, *told]}]}


def prove(settings: LabConfig, cases: dict[str, Any], folder: Path) -> None:
    tree = rules(settings)
    for rule in tree["groups"][0]["rules"]:
        rule.pop("annotations", None)
    (folder / "rules.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    path = folder / "costs.yaml"
    path.write_text(yaml.safe_dump(cases))
    assert "SUCCESS" in run("promtool", "test", "rules", path)


def measured(at: str, asked: str, samples: Any, *series: tuple[str, str]) -> Any:
    return {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1h",
        "tests": [
            {
                "interval": "1h",
                "input_series": [{"series": s, "values": v} for s, v in series],
                "promql_expr_test": [
                    {"expr": asked, "eval_time": at, "exp_samples": samples}
                ],
            }
        ],
    }


def pod(
    name: str, amount: str, what: str = "cpu", home: str = "example", **labels: str
) -> Any:
    own = "".join(f',{key}="{value}"' for key, value in labels.items())
    of = f'namespace="{home}",pod="{name}"{own}'
    return (
        (
            f'kube_pod_container_resource_requests{{{of},resource="{what}"}}',
            f"{amount}x50",
        ),
        (f'kube_pod_status_phase{{{of},phase="Running"}}', "1x50"),
    )


def test_each_pod_and_volume_is_counted_in_its_room(tmp_path: Path) -> None:
    claim = (
        "kube_persistentvolumeclaim_resource_requests_storage_bytes"
        '{namespace="example",persistentvolumeclaim="minio-data"}',
        f"{73 * 2**30}x50",
    )
    series = [
        *pod("iris-v1-predictor-77", "2", release="iris"),
        *pod("batch-iris-29384732-0-abcde", "1"),
        *pod("minio-0", str(2**30), "memory"),
        *pod("notebook-0", "1"),
        *pod("minio-0", "3", home="example-backups"),
        *pod("backup-29384732-abcde", "1"),
        *pod("minio-0", "100", home="another"),
        claim,
    ]
    wanted = {
        "backups": 0.0376,
        "serving": 0.0282,
        "storage": 0.0012 + 0.00333,
        "other": 0.0094,
    }
    samples = [
        {"labels": f'{{room="{room}"}}', "value": round(value * 1e6)}
        for room, value in sorted(wanted.items())
    ]
    asked = "round(lab:cost_per_hour:sum * 1000000)"

    prove(lab(), measured("2h", asked, samples, *series), tmp_path)


def test_an_agreement_about_releases_pays_for_them_and_for_nothing_else(
    tmp_path: Path,
) -> None:
    settings = lab(fast={"covers": ["iris"], "owner": "fruit", **STANDARD})
    series = [
        *pod("iris-v1-predictor-77", "2", release="iris"),
        *pod("batch-iris-0123456789-abcde", "1"),
        *pod("batch-iris-2-29384732-abcde", "8"),
        *pod("minio-0", "4"),
    ]
    labels = '{agreement="fast", owner="fruit"}'

    prove(
        settings,
        measured(
            "2h",
            "round(agreement:cost_per_hour:sum * 1000000)",
            [{"labels": labels, "value": 28200}],
            *series,
        ),
        tmp_path,
    )


def test_an_override_counts_until_the_end_of_its_last_day(tmp_path: Path) -> None:
    override = {
        "monthly": 150.0,
        "by": "head of vision",
        "because": "the fair in January",
        "until": "1970-01-01",
    }
    settings = lab(standard={"cost": {"monthly": 100.0, "override": override}})

    for at, allowed in (("23h", 150), ("24h", 100)):
        samples = [
            {
                "labels": 'lab:budget_monthly{agreement="standard"}',
                "value": allowed,
            }
        ]
        asked = measured(at, "lab:budget_monthly", samples, ("x", "1x50"))
        prove(settings, asked, tmp_path)


def test_without_budgets_the_costs_are_measured_all_the_same() -> None:
    found = costs.recorded(lab(), RATES)

    assert "lab:cost_per_hour:sum" in found
    assert "lab:budget_monthly" not in found
    assert costs.alerts(lab()) == []


def test_lab_costs_asks_for_what_is_recorded() -> None:
    # Neither may import the other.
    asked = {asking.ROOM, asking.OBJECT, asking.SPENT, asking.FORECAST}

    assert asked <= {*costs.recorded(lab(standard=STANDARD), RATES)}
