"""The last of the live tests: the lab that they shared goes, and leaves nothing."""

from __future__ import annotations

import pytest

from labfactory import embedded, labs, paths
from labfactory.demo.story import Demo
from tests.live_lab import cluster, pods

pytestmark = pytest.mark.live


def test_destroy_and_down_leave_nothing_on_the_machine(lab: Demo) -> None:
    name = cluster(lab)
    lab.stack.destroy()
    assert pods(lab) == []

    labs.take_down(lab.stack.name, purge=True)

    assert embedded.leftovers(name) == []
    assert not paths.cluster(name).exists()
