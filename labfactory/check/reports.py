"""What a check has found, for machines: SARIF 2.1.0 and JUnit's XML. Both pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from labfactory.check.checked import SETTINGS, Breach, Checked
from policies.rules import RULES

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {"mandatory": "error", "advisory": "warning"}


def sarif(checked: Sequence[Checked]) -> str:
    """One run with every rule, and a result for each breach."""
    run = {
        "tool": {
            "driver": {
                "name": "lab check",
                "rules": [{"id": SETTINGS, **_said("Settings can be read.")}]
                + [
                    {
                        "id": rule.name,
                        **_said(rule.what),
                        "fullDescription": {"text": rule.why},
                        "help": {"text": rule.fix},
                        "defaultConfiguration": {"level": LEVELS[rule.level]},
                    }
                    for rule in RULES.values()
                ],
            }
        },
        "results": [
            _result(each, breach) for each in checked for breach in each.breaches
        ],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _said(text: str) -> dict[str, Any]:
    return {"shortDescription": {"text": text}}


def _result(each: Checked, breach: Breach) -> dict[str, Any]:
    return {
        "ruleId": breach.rule,
        "level": LEVELS[breach.level],
        "message": {"text": breach.told},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": each.file},
                    "region": {"startLine": breach.line},
                }
            }
        ],
    }


def junit(checked: Sequence[Checked]) -> str:
    """One suite for each stack, with a case for each rule; advice does not fail it."""
    suites = Element("testsuites", name="lab check")
    for each in checked:
        cases = {rule: list(_of(each, rule)) for rule in (SETTINGS, *RULES)}
        failed = [rule for rule, told in cases.items() if _refuses(told)]
        suite = SubElement(
            suites,
            "testsuite",
            name=each.stack,
            tests=str(len(cases)),
            failures=str(len(failed)),
        )
        for rule, told in cases.items():
            case = SubElement(suite, "testcase", classname=each.stack, name=rule)
            case.set("file", each.file)
            _tell(case, each, told)
    indent(suites)
    return tostring(suites, encoding="unicode", xml_declaration=True)


def _of(each: Checked, rule: str) -> Iterator[Breach]:
    return (breach for breach in each.breaches if breach.rule == rule)


def _refuses(told: Sequence[Breach]) -> bool:
    return any(breach.level == "mandatory" for breach in told)


def _tell(case: Element, each: Checked, told: Sequence[Breach]) -> None:
    if not told:
        return
    text = "\n".join(f"{each.file}:{breach.line}: {breach.told}" for breach in told)
    if _refuses(told):
        SubElement(case, "failure", message=told[0].told, type="mandatory").text = text
    else:
        SubElement(case, "system-out").text = text
