"""Which addresses a cluster uses: one /20 of a range that exists nowhere else.

198.18.0.0/15 is set aside for benchmarks between networks (RFC 2544), so it collides
with neither the internet nor the usual private networks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

POOL = IPv4Network("198.18.0.0/15")
COUNT = 32


@dataclass(frozen=True)
class Addresses:
    """The addresses of cluster number `index`, 0 to 31."""

    index: int

    def __post_init__(self) -> None:
        """Refuse an index outside the pool."""
        if not 0 <= self.index < COUNT:
            raise ValueError(f"index {self.index} is not in 0..{COUNT - 1}")

    @property
    def network(self) -> IPv4Network:
        """The whole /20."""
        return IPv4Network((int(POOL.network_address) + (self.index << 12), 20))

    @property
    def link(self) -> IPv4Network:
        """The /30 between machine and node."""
        return IPv4Network((self.network.network_address, 30))

    @property
    def host(self) -> IPv4Address:
        """The machine's end of the link."""
        return self.link[1]

    @property
    def node(self) -> IPv4Address:
        """The node's end of the link; the API server listens here."""
        return self.link[2]

    @property
    def services(self) -> IPv4Network:
        """The /22 of Services."""
        return IPv4Network((int(self.network.network_address) + (4 << 8), 22))

    @property
    def pods(self) -> IPv4Network:
        """The /21 of pods."""
        return IPv4Network((int(self.network.network_address) + (8 << 8), 21))

    @property
    def dns(self) -> IPv4Address:
        """The Service that answers names."""
        return self.services[10]

    @property
    def interface(self) -> str:
        """The machine's end of the link, as `ip link` shows it."""
        return f"lf-{self.index}"


def choose(folder: Path, taken: Collection[IPv4Network]) -> Addresses | None:
    """The addresses for the cluster in `folder`; None when every range is taken.

    The same folder gets the same range on every machine where that one is free.
    """
    start = int.from_bytes(hashlib.sha256(bytes(folder)).digest()[:4])
    for step in range(COUNT):
        addresses = Addresses((start + step) % COUNT)
        if not any(addresses.network.overlaps(network) for network in taken):
            return addresses
    return None
