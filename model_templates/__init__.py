"""How one kind of model is served: templates are data, filling them in is pure.

A template becomes a ServingRuntime of the lab; each variant of a release becomes an
InferenceService that names it; a release becomes one HTTPRoute.
"""

from __future__ import annotations

from model_templates.manifests import (
    host,
    http_route,
    inference_service,
    runtime_name,
    service_name,
    serving_runtime,
)
from model_templates.template import (
    KServeTemplate,
    ServerTemplate,
    Template,
    load,
    names,
)

__all__ = [
    "KServeTemplate",
    "ServerTemplate",
    "Template",
    "host",
    "http_route",
    "inference_service",
    "load",
    "names",
    "runtime_name",
    "service_name",
    "serving_runtime",
]
