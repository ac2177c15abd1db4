"""Run in the lab: `PROVISION_PLAN` says what to do, `PROVISION_KEYS` holds the keys."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from provision.store import Keys, Refused, Store


def main() -> int:
    """Provision where the plan has policies, then check with each consumer's keys."""
    plan = json.loads(os.environ["PROVISION_PLAN"])
    folder = Path(os.environ["PROVISION_KEYS"])
    consumers = {who: keys(folder / who, "AWS") for who in plan["consumers"]}
    store = Store(plan["endpoint"], plan["region"])
    try:
        if "policies" in plan:
            root = keys(folder / "root", "MINIO")
            store.provision(root, plan["buckets"], plan["policies"], consumers)
        store.check(consumers, plan["consumers"], writer="tracking")
    except Refused as refusal:
        print(f"object store {plan['endpoint']}: {refusal}", file=sys.stderr)
        return 1
    return 0


def keys(folder: Path, kind: str) -> Keys:
    """Read an access key and its secret from the files of a mounted Secret."""
    names = {
        "AWS": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        "MINIO": ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"),
    }[kind]
    return Keys(*((folder / name).read_text() for name in names))


if __name__ == "__main__":
    sys.exit(main())
