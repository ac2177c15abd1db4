"""What a plan asks about a lab that runs: its cluster, its store, its registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from labfactory.errors import LabError
from labfactory.releases.planning.meaning import Amounts, Variant
from labfactory.releases.planning.way_back import Difference
from stacks.schema import LabConfig

if TYPE_CHECKING:
    from labfactory.releases.models.contract import Contract
    from labfactory.releases.models.registry import Registry

OWN = "localhost/"
"""Beginning of images that are on the embedded node and in no registry."""


class Live:
    """The facts of one lab. What is slow is asked once, and only when it is needed."""

    def __init__(self, settings: LabConfig) -> None:
        """Begin to ask the lab's cluster which variants are ready."""
        self._settings = settings
        self._context = settings.cluster.context
        self.tracking_url: str | None = None
        self._pool = ThreadPoolExecutor(max_workers=2)
        self._ready: Future[Mapping[str, bool]] = self._pool.submit(self._ask_ready)
        # One question, however many releases want to know.
        self._contract = cache(self._ask_contract)
        self._nodes = cache(self._ask_nodes)

    def __enter__(self) -> Self:
        """Use it; leaving the block gives up questions that are still open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give up what was asked and is not needed any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def ready(self, service: str) -> bool:
        """Whether an InferenceService can answer now. Raises LabError."""
        return self._ready.result().get(service, False)

    def artifact_digest(self, artifact: str) -> str | None:
        """Digest of what the store has at `artifact`; None when it has nothing."""
        return self._registry().digest_of(artifact)

    def image_present(self, image: str) -> bool:
        """Whether a node has the image, or could pull it."""
        if not image.startswith(OWN):
            return True
        nodes, _ = self._nodes()
        return any(
            image in (kept.names or ())
            for node in nodes
            for kept in node.status.images or ()
        )

    def free(self) -> Amounts:
        """What the nodes have that no pod was promised. Raises LabError."""
        nodes, pods = self._nodes()
        there = _sum(node.status.allocatable for node in nodes)
        promised = _sum(
            (container.resources and container.resources.requests) or {}
            for pod in pods
            if pod.status.phase not in ("Succeeded", "Failed")
            for container in pod.spec.containers
        )
        return Amounts(there.cpu - promised.cpu, there.memory - promised.memory)

    def difference(self, release: str, old: Variant, new: Variant) -> Difference:
        """What callers of `old` notice when `new` answers. Raises LabError."""
        from labfactory.releases.models.contract import compare

        return compare(self._contract(release, old), self._contract(release, new))

    def _ask_ready(self) -> Mapping[str, bool]:
        from labfactory.releases.routes import connect

        with connect(self._context, self._settings.name) as routes:
            return routes.ready()

    def _ask_nodes(self) -> tuple[list[Any], list[Any]]:
        from kubernetes import client
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        from labfactory import environment

        api = client.CoreV1Api(environment.kubernetes(self._context))
        try:
            nodes = api.list_node(_request_timeout=10).items
            pods = api.list_pod_for_all_namespaces(_request_timeout=10).items
        except (ApiException, HTTPError) as error:
            raise LabError(
                f"cluster {self._context!r}: does not say what its nodes have left "
                f"({type(error).__name__}); may you list nodes and pods there?"
            ) from None
        return nodes, pods

    def _ask_contract(self, release: str, variant: Variant) -> Contract:
        from labfactory.releases.models.contract import of
        from labfactory.releases.models.server import NotThere

        registry, artifact = self._registry(), str(variant.artifact)
        try:
            found = registry.locate(release, str(variant.version))
            if found.artifact == artifact:
                return registry.contract_at(found)
        except NotThere:
            pass  # the release has another name than its model
        return of(registry.signature(artifact), None)

    def _registry(self) -> Registry:
        from labfactory.releases.models.registry import Registry

        if self.tracking_url is None:
            raise LabError(
                f"lab {self._settings.name!r}: it has no tracking server yet; "
                "`lab up` starts it"
            )
        return Registry(self.tracking_url, bucket=self._settings.tracking.bucket)


def _sum(amounts: Iterable[Mapping[str, str]]) -> Amounts:
    from kubernetes.utils.quantity import parse_quantity

    cpu = memory = 0.0
    for each in amounts:
        cpu += float(parse_quantity(each.get("cpu", "0")))
        memory += float(parse_quantity(each.get("memory", "0")))
    return Amounts(cpu, memory)
