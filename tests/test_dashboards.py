"""Dashboards show what is measured, to whoever has a Grafana."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import dashboards
from components.alerts import rules
from stacks.schema import LabConfig
from stacks.watching import MonitoringConfig
from tests.harness import ROOT, example, house
from tests.watching import WATCHED, run

PANELS = [*dashboards.RELEASES, *dashboards.PARTS]


def boards() -> list[dict[str, Any]]:
    data = dashboards.config_map("demo")["data"]
    return [json.loads(text) for text in data.values()]


def test_every_expression_is_one_that_prometheus_understands(tmp_path: Path) -> None:
    recorded = [
        # Grafana fills in which releases are chosen.
        {
            "record": f"panel:{number}",
            "expr": panel.expression.replace("$release", ".*"),
        }
        for number, panel in enumerate(PANELS)
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": recorded}]}))

    run("promtool", "check", "rules", file)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_a_graph_shows_what_is_kept_or_worked_out(panel: dashboards.Panel) -> None:
    golden = (ROOT / "tests" / "golden" / "prometheus.yaml").read_text()
    kept = {*re.findall(r"regex: (.+)", golden)} - {"(.+)"}
    worked_out = json.dumps(rules(WATCHED, MonitoringConfig()))
    names = re.findall(
        r"\b(?:variant|lab|minio|pg|container)[\w:]*[_:][\w:]+", panel.expression
    )

    assert names or panel.expression == "sum by (job) (up)"
    for name in names:
        known = any(re.fullmatch(pattern, name) for pattern in kept)
        assert known or name in worked_out, name


def test_no_two_graphs_of_a_dashboard_lie_over_each_other() -> None:
    for board in boards():
        places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]]

        assert len(set(places)) == len(board["panels"])
        assert max(x for x, _ in places) + dashboards.WIDTH <= 24


def test_they_are_there_when_the_settings_say_so_and_a_grafana_finds_them() -> None:
    without = house(example())
    with_them = house(example(monitoring={"dashboards": True}))

    assert not [m for m in without.all("ConfigMap") if m.name.endswith("dashboards")]
    [found] = [m for m in with_them.all("ConfigMap") if m.name.endswith("dashboards")]
    assert found.metadata["labels"]["grafana_dashboard"] == "1"
    assert LabConfig.model_validate(example(monitoring={"dashboards": True})).monitoring
