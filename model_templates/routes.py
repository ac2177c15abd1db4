"""How requests reach the variants of a release: one HTTPRoute. Pure.

A rule of the route sends what it matches to one variant, or to several by weight:
matches of A/B variants first, then sticky buckets, then the weights. Contour 1.33
prefers the rule with more header matches and, among equals, the earlier one.

Contour mirrors all requests of a rule or none: it ignores the filter's `percent`. A
shadow that gets a part of the requests gets those whose `x-request-id`, which Envoy
makes at random, begins with certain digits: each rule is there twice, the second time
with that match and the mirror.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from model_templates.template import load
from stacks.schema import ReleaseConfig, VariantConfig

RELEASE = "labfactory.io/release"
"""Label of a release's objects; it becomes the model's name in URLs."""
DOMAIN = "lab.internal"
SETTINGS = "labfactory.io/settings"
"""Annotation of a route with the settings of its release, for whoever watches it."""
UNWATCHED = {"batch", "replicas", "resources", "serve"}
"""Settings that no request depends on: an edit of them is none of the route."""
LOG = "x-lab-log"
"""Header that asks model servers to keep what they answer."""
REQUEST_ID = "x-request-id"
DECIMAL = "0123456789"

Match = dict[str, Any]


def host(release_name: str, lab: str) -> str:
    """Return the host name under which a release is called."""
    return f"{release_name}.{lab}.{DOMAIN}"


def service_name(release_name: str, variant_name: str) -> str:
    """Return the name of a variant's InferenceService."""
    return f"{release_name}-{variant_name}"


def preview_path(variant_name: str) -> str:
    """Return what stands before the path to reach a variant that is not stable."""
    return f"/preview/{variant_name}"


def http_route(
    release_name: str, release: ReleaseConfig, *, lab: str, gateway: str
) -> dict[str, Any]:
    """Return the route of a release; `gateway` is NAMESPACE/NAME."""
    namespace, _, name = gateway.partition("/")
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": release_name,
            "labels": {RELEASE: release_name},
            # Weights may be patched while the lab runs; the next `pulumi up` must be
            # able to write the same ones without a conflict.
            "annotations": {
                "pulumi.com/patchForce": "true",
                SETTINGS: json.dumps(
                    release.model_dump(
                        mode="json", exclude_defaults=True, exclude=UNWATCHED
                    ),
                    sort_keys=True,
                ),
            },
        },
        "spec": {
            "parentRefs": [
                {
                    "group": "gateway.networking.k8s.io",
                    "kind": "Gateway",
                    "namespace": namespace,
                    "name": name,
                }
            ],
            "hostnames": [host(release_name, lab)],
            "rules": rules(release_name, release),
        },
    }


def settings_of(route: Mapping[str, Any]) -> ReleaseConfig | None:
    """The settings that a live route was made from; None when it does not say any.

    Raises ValueError when they are of another version of the lab.
    """
    annotations = route["metadata"].get("annotations") or {}
    text = annotations.get(SETTINGS)
    return None if text is None else ReleaseConfig.model_validate_json(text)


def rules(release_name: str, release: ReleaseConfig) -> list[dict[str, Any]]:
    """Return the rules of a release's route."""
    found = list(_previews(release_name, release))
    shadows = {n: v.mirror for n, v in release.variants.items() if v.mirror}
    always = [name for name, percent in shadows.items() if percent == 100]
    sampled = {n: percent for n, percent in shadows.items() if percent < 100}
    for match, weights in _answering(release):
        for shadow, percent in sampled.items():
            sample = _header(REQUEST_ID, f"({digits_below(percent)}).*")
            mirrors = [*always, shadow]
            found.append(
                _rule(release_name, release, [*match, sample], weights, mirrors)
            )
        found.append(_rule(release_name, release, match, weights, always))
    return found


def _answering(
    release: ReleaseConfig,
) -> Iterator[tuple[list[Match], Mapping[str, int]]]:
    """Each way to be answered: header matches, and variants with their weights."""
    for name, variant in release.variants.items():
        if variant.match:
            yield [_wanted(variant)], {name: 100}
    if release.sticky:
        for name, buckets in sticky_buckets(release).items():
            yield [_header(release.sticky, buckets)], {name: 100}
    yield [], weights(release)


def weights(release: ReleaseConfig) -> dict[str, int]:
    """Return per cent of the requests by variant; those that may take some at 0 too."""
    return {
        name: variant.traffic
        for name, variant in release.variants.items()
        if variant.role in ("stable", "candidate", "previous")
    }


def sticky_buckets(release: ReleaseConfig) -> dict[str, str]:
    """Return a regular expression of buckets (00 to 99) for each variant with traffic.

    The first candidate grows from 00 upwards, the second from 99 downwards, and the
    stable variant has what is between: whoever is with a candidate stays there while
    any of them grows. The stable one comes last and matches every bucket.
    """
    growing = [
        (name, variant.traffic)
        for name, variant in release.variants.items()
        if variant.role == "candidate" and variant.traffic
    ]
    found = {}
    for number, (name, percent) in enumerate(growing):
        found[name] = _below(percent) if number == 0 else _from(100 - percent)
    stable = release.stable()
    if release.variants[stable].traffic:
        found[stable] = "[0-9][0-9]"
    return found


def digits_below(percent: int) -> str:
    """Return an expression of the first two hexadecimal digits of `percent` of all.

    To the nearest of 256 parts: within 0.2 of a per cent.
    """
    return _below(round(percent * 2.56), "0123456789abcdef")


def _below(number: int, digits: str = DECIMAL) -> str:
    """Two digits, from 00 up to, but without, `number`."""
    rows, rest = divmod(number, len(digits))
    parts = [f"{_range(digits[:rows])}{_range(digits)}"] if rows else []
    if rest:
        parts.append(f"{digits[rows]}{_range(digits[:rest])}")
    return "|".join(parts)


def _from(percent: int) -> str:
    """Buckets `percent` up to 99."""
    tens, ones = divmod(percent, 10)
    parts = []
    if ones:
        parts.append(f"{tens}{_range(DECIMAL[ones:])}")
        tens += 1
    if tens < 10:
        parts.append(f"{_range(DECIMAL[tens:])}[0-9]")
    return "|".join(parts)


def _range(digits: str) -> str:
    """A class of neighbouring digits; without letters it can be read."""
    if len(digits) == 1:
        return digits
    if digits[-1] in "abcdef" and digits[0] not in "abcdef":
        return f"[{digits[0]}-9{'a' if digits[-1] == 'a' else 'a-' + digits[-1]}]"
    return f"[{digits[0]}-{digits[-1]}]"


def _previews(release_name: str, release: ReleaseConfig) -> Iterator[dict[str, Any]]:
    """A rule per path of each variant but the stable one: nothing else is reached."""
    for name, variant in release.variants.items():
        if variant.role == "stable":
            continue
        for path in load(release.template).paths:
            target = f"{preview_path(name)}{path}"
            yield {
                "matches": [{"path": {"type": "PathPrefix", "value": target}}],
                "filters": [
                    {
                        "type": "URLRewrite",
                        "urlRewrite": {
                            "path": {
                                "type": "ReplacePrefixMatch",
                                "replacePrefixMatch": path,
                            }
                        },
                    },
                    _unlogged(),
                ],
                "backendRefs": [_backend(release_name, name, 1)],
                "timeouts": {"request": "60s"},
            }


def _rule(
    release_name: str,
    release: ReleaseConfig,
    headers: list[Match],
    shares: Mapping[str, int],
    mirrors: list[str],
) -> dict[str, Any]:
    wanted = {"headers": headers} if headers else {}
    return {
        "matches": [
            {"path": {"type": "PathPrefix", "value": path}, **wanted}
            for path in load(release.template).paths
        ],
        "filters": _filters(release_name, release, mirrors),
        "backendRefs": [
            _backend(release_name, variant, weight)
            for variant, weight in shares.items()
        ],
        "timeouts": {"request": "60s"},
    }


def _filters(
    release_name: str, release: ReleaseConfig, shadows: list[str]
) -> list[dict[str, Any]]:
    """Copies go to `shadows`; what labels or shadows are compared with is logged."""
    copies = [
        {
            "type": "RequestMirror",
            "requestMirror": {"backendRef": _service(release_name, shadow)},
        }
        for shadow in shadows
    ]
    wanted = bool(shadows or release.guard.quality)
    return [_logged() if wanted else _unlogged(), *copies]


def _logged() -> dict[str, Any]:
    return {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": LOG, "value": "1"}]},
    }


def _unlogged() -> dict[str, Any]:
    """What is logged is the lab's to say, not the caller's."""
    return {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"remove": [LOG]},
    }


def _wanted(variant: VariantConfig) -> Match:
    match = variant.match
    assert match
    if match.header:
        return {"type": "Exact", "name": match.header, "value": match.value}
    value = match.value.replace(".", r"\.")
    return _header("cookie", rf"(.*;\s*)?{match.cookie}={value}(;.*)?")


def _header(name: str, expression: str) -> Match:
    return {"type": "RegularExpression", "name": name, "value": expression}


def _backend(release_name: str, variant: str, weight: int) -> dict[str, Any]:
    return {**_service(release_name, variant), "weight": weight}


def _service(release_name: str, variant: str) -> dict[str, Any]:
    return {
        "group": "",
        "kind": "Service",
        "name": f"{service_name(release_name, variant)}-predictor",
        "port": 80,
    }
