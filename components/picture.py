"""The picture of the table of flows: `python -m components.picture` writes it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from components import flows, rooms
from components.flows import FLOWS, PARTS, Flow

FILE = Path(__file__).resolve().parents[1] / "docs" / "network.svg"
WIDTH = 1240
TOP = 92
LINE = 30
"""Height of one flow."""
GAP = 16
SOURCE, ARROW, TARGET = 128, 290, 150
"""Widths of who, of the way with its words, and of whom."""
COLUMNS = (20, 650)
FILLS = {
    rooms.LAB: ("#eaf1fb", "in the lab"),
    rooms.COPIES: ("#e7f5ea", "in LAB-backups"),
    rooms.DRILL: ("#fdf3dc", "in LAB-drill"),
    rooms.GATEWAY: ("#f1eafa", "of the platform"),
    rooms.KSERVE: ("#f1eafa", "of the platform"),
}
ELSEWHERE = ("#fff", "elsewhere")
HEAD = f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {{height}}" \
font-family="Helvetica, Arial, sans-serif" font-size="13">
  <title>Who may speak to whom in a lab</title>
  <defs>
    <marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" \
markerHeight="7" orient="auto"><path d="M0 0 10 5 0 10z" fill="#445"/></marker>
    <style>
      rect{{{{stroke:#3b5b8c;stroke-width:1.2}}}}
      .head{{{{font-weight:bold;fill:#1f3557}}}}
      .way{{{{stroke:#445;stroke-width:1.2;fill:none;marker-end:url(#tip)}}}}
      .say{{{{fill:#333;font-size:12px}}}}
      .port{{{{fill:#666;font-size:11px}}}}
    </style>
  </defs>
  <rect width="{WIDTH}" height="{{height}}" style="fill:#fff;stroke:none"/>
  <text class="head" x="20" y="34" font-size="17">Who may speak to whom</text>
  <text class="say" x="20" y="54">Everything else is refused. All pods may ask the \
name server, and kubelets reach the pods of their node.</text>
"""


def drawn() -> str:
    """The picture: each part with the flows into it, in two columns."""
    groups = _groups()
    lines, height = _legend(), 0
    half = sum(_height(group) for group in groups) / 2
    at, column = TOP, 0
    for group in groups:
        if column == 0 and at - TOP + _height(group) / 2 > half:
            at, column = TOP, 1
        lines += _group(group, COLUMNS[column], at)
        at += _height(group)
        height = max(height, at)
    return HEAD.format(height=height) + "".join(f"  {x}\n" for x in lines) + "</svg>\n"


def _groups() -> list[list[Flow]]:
    """The flows by their target, in the table's order."""
    targets = dict.fromkeys(flow.whom for flow in FLOWS)
    return [flows.into(target) for target in targets]


def _height(group: list[Flow]) -> int:
    return LINE * len(group) + GAP


def _legend() -> list[str]:
    found = []
    for index, (fill, words) in enumerate(dict.fromkeys([*FILLS.values(), ELSEWHERE])):
        x = 20 + 130 * index
        found.append(_rect(x, 66, 14, 14, fill))
        found.append(f'<text class="say" x="{x + 20}" y="78">{words}</text>')
    return found


def _group(group: list[Flow], x: int, y: int) -> list[str]:
    """One target, and an arrow from everybody who may speak to it."""
    found = []
    end = x + SOURCE + ARROW
    for index, flow in enumerate(group):
        middle = y + LINE * index + LINE // 2
        found += _box(flow.who, x, middle - 11, SOURCE, 22)
        start = x + SOURCE
        found += [
            f'<path class="way" d="M{start} {middle + 6}H{end - 2}"/>',
            f'<text class="say" x="{start + 8}" y="{middle + 1}">'
            f"{escape(flow.why)}</text>",
            f'<text class="port" x="{end - 10}" y="{middle + 1}" '
            f'text-anchor="end">{_ports(flow.ports)}</text>',
        ]
    found += _box(group[0].whom, end, y + 4, TARGET, LINE * len(group) - 8)
    return found


def _box(name: str, x: int, y: int, width: int, height: int) -> list[str]:
    part = PARTS.get(name)
    fill = (FILLS[part.room] if part else ELSEWHERE)[0]
    middle = y + height // 2 + 5
    return [
        _rect(x, y, width, height, fill),
        f'<text class="head" x="{x + width // 2}" y="{middle}" '
        f'text-anchor="middle">{escape(name)}</text>',
    ]


def _rect(x: int, y: int, width: int, height: int, fill: str) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" '
        f'style="fill:{fill}"/>'
    )


def _ports(ports: Iterable[int]) -> str:
    return ", ".join(map(str, ports))


if __name__ == "__main__":
    FILE.write_text(drawn())
