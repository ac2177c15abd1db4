"""Run in the lab: `PROVISION_PLAN` says what to do, `PROVISION_KEYS` holds the keys."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from provision.store import Keys, Refused, Store

KEY_FILES = (
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("PREDICTIONS_KEY_ID", "PREDICTIONS_SECRET"),
    ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"),
)
"""What the files of a Secret are called, by who reads it."""


def main() -> int:
    """Provision where the plan has policies, then check with each consumer's keys."""
    plan = json.loads(os.environ["PROVISION_PLAN"])
    folder = Path(os.environ["PROVISION_KEYS"])
    consumers = {who: keys(folder / who) for who in plan["consumers"]}
    store = Store(plan["endpoint"], plan["region"])
    try:
        if "policies" in plan:
            root = keys(folder / "root")
            store.provision(root, plan["buckets"], plan["policies"], consumers)
            if "expire_days" in plan:
                store.expire(root, plan["buckets"], plan["expire_days"])
        store.check(consumers, plan["consumers"], plan["writers"])
    except Refused as refusal:
        print(f"object store {plan['endpoint']}: {refusal}", file=sys.stderr)
        return 1
    return 0


def keys(folder: Path) -> Keys:
    """Read an access key and its secret from the files of a mounted Secret."""
    for key_id, secret in KEY_FILES:
        if (folder / key_id).is_file():
            return Keys((folder / key_id).read_text(), (folder / secret).read_text())
    raise FileNotFoundError(f"{folder}: there are no keys")


if __name__ == "__main__":
    sys.exit(main())
