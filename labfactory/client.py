"""For callers of a release whose settings say `sticky`: keep a user with a variant.

The route sends a request by its bucket, 00 to 99, in the header that `sticky` names.
Copy this file, or do the same in any language: the bucket is the SHA-256 digest of
`RELEASE/USER` in UTF-8, read as one big-endian number, modulo 100. In a shell:

    hex=$(printf %s "iris/ada" | sha256sum | cut -c1-64 | tr a-f A-F)
    printf '%02d' "$(echo "ibase=16; $hex % 64" | bc)"
"""

from __future__ import annotations

import hashlib


def bucket(user: str, *, release: str) -> str:
    """Return the bucket of `user`, "00" to "99": always the same one for a release.

    Users are spread anew for each release, so that nobody is first every time.
    """
    digest = hashlib.sha256(f"{release}/{user}".encode()).digest()
    return f"{int.from_bytes(digest) % 100:02d}"


def headers(user: str, *, release: str, sticky: str) -> dict[str, str]:
    """Return the header to send with each request; `sticky` is its name."""
    return {sticky: bucket(user, release=release)}
