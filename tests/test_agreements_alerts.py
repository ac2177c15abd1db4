from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from components.alerts import agreements
from labfactory.agreements import measured
from stacks.schema import LabConfig
from stacks.values import ANSWER_TIMES
from tests.harness import ROOT
from tests.promised import IRIS, OF_RELEASES, STANDARD, promised, under
from tests.watching import run

CASES = ROOT / "tests" / "alerts" / "agreements.yaml"
FIVE_PER_CENT = (("completed", "", "0+100x30"), ("xx", "5", "0+5x30"))


def recorded(lab: LabConfig, retention_days: int = 15) -> list[dict[str, Any]]:
    return agreements.recorded(
        lab.releases, under(lab), lab.agreements, retention_days=retention_days
    )


def group(lab: LabConfig) -> dict[str, Any]:
    found = agreements.alerts(under(lab), lab.agreements)
    rules = [*recorded(lab), *(alert.rule("example") for alert in found)]
    return {
        "groups": [
            {"name": "agreements", "interval": agreements.INTERVAL, "rules": rules}
        ]
    }


def write(tree: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def series(lab: LabConfig, folder: Path, expr: str, **checked: Any) -> None:
    """Have promtool compare what `expr` gives while five per cent of v1 fail."""
    write(group(lab), folder / "rules.yaml")
    base = 'job="gateway",release="iris",variant="v1"'
    named = "envoy_cluster_upstream_rq"
    samples = [
        {
            "series": f"{named}_{name}{{{base},envoy_response_code_class='{code}'}}",
            "values": values,
        }
        for name, code, values in checked.pop("failing", FIVE_PER_CENT)
    ]
    found = [{"labels": label, "value": v} for label, v in checked["samples"].items()]
    case = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": samples,
                "promql_expr_test": [
                    {"expr": expr, "eval_time": "20m", "exp_samples": found}
                ],
            }
        ],
    }
    assert "SUCCESS" in run("promtool", "test", "rules", write(case, folder / "t.yaml"))


def test_five_times_the_failures_that_were_promised_leave_a_budget_of_minus_four(
    tmp_path: Path,
) -> None:
    lab = promised()
    left = 'lab:error_budget_left:ratio{objective="availability",release="iris"}'

    series(
        lab,
        tmp_path,
        f"round({left}, 0.001)",
        samples={'{objective="availability", release="iris"}': -4},
    )


def test_nobody_is_promoted_while_a_budget_is_used_up(tmp_path: Path) -> None:
    name = 'lab:promotion_allowed:bool{release="iris"}'

    series(promised(), tmp_path, agreements.MAY_PROMOTE, samples={name: 0})


def test_a_release_without_traffic_has_its_whole_budget(tmp_path: Path) -> None:
    name = 'lab:promotion_allowed:bool{release="iris"}'
    whole = {
        f'lab:error_budget_left:ratio{{objective="{each}", release="iris"}}': 1
        for each in ("availability", "latency", "quality")
    }

    series(promised(), tmp_path, agreements.MAY_PROMOTE, failing=(), samples={name: 1})
    series(promised(), tmp_path, agreements.LEFT, failing=(), samples=whole)


def test_a_guard_that_may_not_trade_promotes_nobody(tmp_path: Path) -> None:
    mine = {**STANDARD, "guard_may_trade": False}
    name = 'lab:promotion_allowed:bool{release="iris"}'

    series(
        promised(agreements={"mine": mine}),
        tmp_path,
        agreements.MAY_PROMOTE,
        failing=(),
        samples={name: 0},
    )


def test_an_agreement_without_objectives_lets_the_guard_promote(tmp_path: Path) -> None:
    lab = promised(agreements={"loose": {"owner": "vision"}})
    name = 'lab:promotion_allowed:bool{release="iris"}'

    series(lab, tmp_path, agreements.MAY_PROMOTE, samples={name: 1})
    assert len(recorded(lab)) == 1
    assert agreements.alerts(under(lab), lab.agreements) == []


def test_a_release_under_no_agreement_has_no_rules() -> None:
    lab = promised(
        releases={"iris": IRIS, "other": IRIS},
        agreements={"one": {**OF_RELEASES, "covers": ["iris"], "deadlines": {}}},
    )

    found = recorded(lab)

    assert {rule.get("labels", {}).get("release") for rule in found} == {"iris", None}


def test_a_budget_is_counted_as_long_as_measurements_are_kept() -> None:
    left = {
        days: {
            rule["expr"].split("[")[1].split("]")[0]
            for rule in recorded(promised(), days)
            if rule["record"] == agreements.LEFT
        }
        for days in (15, 60)
    }

    assert left == {15: {"15d"}, 60: {"28d"}}


def test_every_time_that_can_be_promised_is_a_bucket_of_the_gateway() -> None:
    envoy = {25, 50, 100, 250, 500, 1000, 2500, 5000, 10000}

    assert {seconds * 1000 for seconds in ANSWER_TIMES} == envoy


def test_the_command_asks_for_the_series_that_are_recorded() -> None:
    assert (measured.ASKED, measured.FAILED) == (
        agreements.ASKED,
        agreements.FAILED,
    )
