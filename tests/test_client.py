"""The bucket that keeps a user with a variant."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from textwrap import dedent

import pytest

from labfactory import client
from labfactory.client import bucket, headers

USERS = [f"user-{number}" for number in range(10_000)]
CHI_SQUARE_99_9 = 148.2
"""What 99 degrees of freedom stay below in 999 of 1,000 cases."""


@pytest.mark.parametrize("release", ["iris", "breast-cancer", "x"])
def test_ten_thousand_users_spread_evenly_over_the_buckets(release: str) -> None:
    counts = Counter(bucket(user, release=release) for user in USERS)

    expected = len(USERS) / 100
    chi_square = sum((n - expected) ** 2 / expected for n in counts.values())
    assert sorted(counts) == [f"{number:02d}" for number in range(100)]
    assert chi_square < CHI_SQUARE_99_9


def test_a_user_s_bucket_never_changes() -> None:
    known = {"ada": "61", "": "39", "Ørsted": "68"}

    assert {user: bucket(user, release="iris") for user in known} == known


def test_users_are_spread_anew_for_each_release() -> None:
    first = [bucket(user, release="iris") for user in USERS]
    second = [bucket(user, release="diabetes") for user in USERS]

    same = sum(a == b for a, b in zip(first, second, strict=True))
    assert same < 0.015 * len(USERS)


@pytest.mark.skipif(not shutil.which("bc"), reason="the shell's lines need bc")
def test_the_shell_lines_of_the_docstring_say_the_same() -> None:
    assert client.__doc__
    lines = dedent(client.__doc__.partition("In a shell:\n")[2])

    shown = subprocess.run(["sh", "-c", lines], capture_output=True, text=True)

    assert shown.stdout == bucket("ada", release="iris")


def test_the_header_is_the_one_that_the_settings_name() -> None:
    found = headers("ada", release="iris", sticky="x-lab-bucket")

    assert found == {"x-lab-bucket": bucket("ada", release="iris")}
