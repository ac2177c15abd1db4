"""Unit tests first, live tests last; every test has a home folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from labfactory.demo.story import Demo


# Machines are shared: how long an example took says nothing about the code.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("live") is not None)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data and cache folders that belong to one test."""
    monkeypatch.setenv("LABFACTORY_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LABFACTORY_CACHE", str(tmp_path / "cache"))
    for name in (
        "PULUMI_HOME",
        "PULUMI_BACKEND_URL",
        "PULUMI_CONFIG_PASSPHRASE",
        "PULUMI_CONFIG_PASSPHRASE_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def lab() -> Iterator[Demo]:
    """The lab of the live tests, stood up once and told through by all of them."""
    from tests.live_lab import fresh_lab

    with fresh_lab() as demo:
        yield demo
