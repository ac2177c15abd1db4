"""A lab's object store, as commands on this machine reach it."""

from __future__ import annotations

from typing import Any


def client(url: str, *, region: str, key_id: str, secret: str, **limits: Any) -> Any:
    """A client of the store at `url`; `limits` are botocore's (timeouts, pool)."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(connect_timeout=5, s3={"addressing_style": "path"}, **limits),
    )
