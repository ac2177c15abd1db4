"""Declare the lab that the selected stack describes."""

from typing import Any

import pulumi

from components.cluster import Cluster, needed_images
from components.feedback import Feedback
from components.guard import Guard
from components.labels import label_everything, of_lab
from components.monitoring import Monitoring
from components.platform import Platform
from components.serving import Serving
from components.storage import Storage, grants
from components.tracking import Tracking
from components.watched import watched
from stacks.load import load

lab = load()
secret = pulumi.Config().require_secret
seed = secret("seed")
label_everything(of_lab(lab.name, lab.owner))

cluster = Cluster("cluster", lab.cluster, lab=lab.name, needs=needed_images(lab))
on_cluster = pulumi.ResourceOptions(providers=[cluster.provider])
pods: dict[str, Any] = {
    "namespace": cluster.namespace,
    "image": cluster.image,
    "opts": on_cluster,
}
volumes = {**pods, "storage_class": cluster.storage_class}
whose: dict[str, Any] = {"lab": lab.name, "owner": lab.owner}

platform = Platform(
    "platform",
    lab.platform,
    image=cluster.image,
    seed=seed,
    issued=lab.credentials_issued,
    opts=on_cluster,
)
storage = Storage("storage", lab.storage, secret=secret, grants=grants(lab), **volumes)
store, gateway = storage.access, platform.gateway
tracking = Tracking(
    "tracking",
    lab.tracking,
    seed=seed,
    artifacts=store["tracking"],
    watched=lab.monitoring is not None,
    **volumes,
)
serving = Serving(
    "serving",
    lab.releases,
    store=store,
    secret=secret,
    gateway=gateway,
    ready=[*platform.models_ready, *storage.ready],
    **whose,
    **pods,
)
if lab.monitoring:
    facts = watched(lab, signed_kubelets=cluster.signed_kubelets)
    monitoring = Monitoring(
        "monitoring", lab.monitoring, watched=facts, secret=secret, **volumes
    )
    pulumi.export("monitoring_url", monitoring.url)
    pulumi.export("alerts_url", monitoring.alerts_url)
if lab.monitoring and lab.guard:
    Guard(
        "guard",
        lab.guard,
        monitoring=lab.monitoring,
        releases=lab.releases,
        artifacts=lab.tracking.bucket,
        **whose,
        **pods,
    )
if lab.takes_feedback:
    Feedback(
        "feedback",
        lab=lab.name,
        seed=seed,
        store=store["feedback"],
        gateway=gateway,
        ready=storage.ready,
        **pods,
    )

pulumi.export("namespace", cluster.namespace)
pulumi.export("lab_image", cluster.image("lab"))
pulumi.export("gateway_url", gateway.url)
pulumi.export("storage_url", storage.url)
pulumi.export("tracking_url", tracking.url)
pulumi.export("model_hosts", serving.hosts)
pulumi.export("model_urls", serving.urls)
