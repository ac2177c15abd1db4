"""The inventory's page in a real browser, on a phone and on a desk."""

from __future__ import annotations

import functools
import html
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from labfactory import tools
from labfactory.inventory import page
from labfactory.inventory.things import Inventory, Section

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ATTACK = "<script>document.title = 'taken'</script><img src=x onerror=alert(1)>"
QUOTES = "\" onmouseover='x' & </td> $lab {{ }}"
LONG = "averylongnamewithoutanyplacetobreakitupinto" * 8
ROWS = 200
PHONE, DESK = 390, 1000
SECONDS = 90
WRAPPER = """<!doctype html>
<iframe src="page.html" style="width: %dpx; height: 800px; border: 0"></iframe>
<pre id="found"></pre>
<script>
document.querySelector("iframe").addEventListener("load", (event) => {
  const page = event.target.contentDocument, view = event.target.contentWindow;
  const all = (of) => [...page.querySelectorAll(of)];
  const shown = (of) => all(of).filter((e) => e.offsetHeight > 0);
  const search = (words) => {
    const field = page.getElementById("search");
    field.value = words;
    field.dispatchEvent(new view.Event("input"));
    return {
      rows: shown("tbody tr").length,
      sections: shown("section").map((e) => e.id),
      counts: shown("section small").map((e) => e.textContent),
    };
  };
  const wide = all("body *").filter((e) =>
    e.getBoundingClientRect().right > view.innerWidth + 0.5);
  const found = {
    width: view.innerWidth,
    needed: page.documentElement.scrollWidth,
    wide: wide.map((e) => e.outerHTML.slice(0, 80)),
    cells: all("td").map((e) => e.textContent),
    made: all("td > *, main script, img").length,
    title: page.title,
    heads: shown("thead").length,
    all: search(""),
    one: search("NUMBER-0123"),
    two: search("number-01 odd"),
    none: search("nothing has this"),
    again: search(" "),
  };
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>
"""


def inventory() -> Inventory:
    """Everything that names can do to a page, and many rows."""
    services = [
        (f"number-{n:04d}", "odd" if n % 2 else "even", n * 2**20) for n in range(ROWS)
    ]
    hostile = [(ATTACK, QUOTES, 1), (LONG, f"s3://{LONG}", None)]
    wide = tuple(f"column {n}" for n in range(8))
    return Inventory(
        ATTACK,
        NOW,
        (
            Section("services", ("name", "kind", "bytes"), tuple(services)),
            Section("data sets", ("name", "kind", "bytes"), tuple(hostile), (LONG,)),
            Section("wide", wide, (tuple(f"value {n:05d}" for n in range(8)),)),
            Section("drills", ("ran",), (), (ATTACK,)),
            Section("backups", ("taken",)),
        ),
    )


class Silent(SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing about it."""

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address and folder of the page, and of frames that are as wide as screens."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "page.html").write_text(page.html(inventory()), encoding="utf-8")
    for width in (PHONE, DESK):
        (folder / f"{width}.html").write_text(WRAPPER % width)
    handler = functools.partial(Silent, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module", params=[PHONE, DESK], ids=["phone", "desk"])
def seen(request: pytest.FixtureRequest, site: tuple[str, Path]) -> dict[str, Any]:
    """What Chromium makes of the page on a screen of one width."""
    url, folder = site
    result = subprocess.run(
        [
            *(tools.path("chromium"), "--headless", "--no-sandbox", "--disable-gpu"),
            *("--disable-dev-shm-usage", "--disable-background-networking"),
            *("--no-first-run", f"--user-data-dir={folder / str(request.param)}"),
            *(f"--window-size={DESK + 100},1000", "--virtual-time-budget=10000"),
            *("--dump-dom", f"{url}/{request.param}.html"),
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    [told] = re.findall(r'<pre id="found">(.*?)</pre>', result.stdout, re.DOTALL)
    found: dict[str, Any] = json.loads(html.unescape(told))
    return {"asked": request.param, **found}


def test_nothing_is_wider_than_the_screen(seen: dict[str, Any]) -> None:
    assert seen["width"] == seen["asked"]
    assert seen["wide"] == []
    assert seen["needed"] <= seen["width"]


def test_every_row_is_there(seen: dict[str, Any]) -> None:
    assert seen["all"]["rows"] == ROWS + 3
    assert seen["all"]["sections"] == [
        *("services", "data-sets", "wide", "drills", "backups"),
    ]


def test_hostile_names_are_text(seen: dict[str, Any]) -> None:
    assert {ATTACK, QUOTES, LONG} < {*seen["cells"]}
    assert seen["made"] == 0
    assert seen["title"] == f"{ATTACK}: inventory"


def test_the_search_box_hides_the_rows_that_lack_a_word(seen: dict[str, Any]) -> None:
    one, two = seen["one"], seen["two"]
    assert one == {"rows": 1, "sections": ["services"], "counts": ["1"]}
    assert two["rows"] == ROWS // 4
    assert seen["none"] == {"rows": 0, "sections": [], "counts": []}
    assert seen["again"] == seen["all"]


def test_tables_become_cards_on_a_phone_alone(seen: dict[str, Any]) -> None:
    tables = 3
    assert seen["heads"] == (0 if seen["asked"] == PHONE else tables)


def test_the_page_lets_nothing_in_and_runs_its_own_script_alone() -> None:
    text = page.html(inventory())

    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy
    assert not re.search(r'(src|href)="(?!#)', text)
    assert text.count("<script>") == 1
