"""How one kind of model is served: templates are data, filling them in is pure.

A template becomes a ServingRuntime of the lab; each variant of a release becomes an
InferenceService that names it; a release becomes one HTTPRoute.
"""

from __future__ import annotations

from model_templates.batch import batch_cron_job, batch_job
from model_templates.manifests import (
    card_address,
    external_secret,
    external_service,
    inference_service,
    serving_runtime,
)
from model_templates.routes import host, http_route, preview_path, service_name
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
    "batch_cron_job",
    "batch_job",
    "card_address",
    "external_secret",
    "external_service",
    "host",
    "http_route",
    "inference_service",
    "load",
    "names",
    "preview_path",
    "service_name",
    "serving_runtime",
]
