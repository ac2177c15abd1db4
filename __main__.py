"""Declare the lab that the selected stack describes."""

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
pods, volumes = cluster.pods, cluster.volumes
platform = Platform(
    "platform",
    lab.platform,
    image=cluster.image,
    seed=seed,
    issued=lab.credentials_issued,
    opts=cluster.opts,
)
gateway = platform.gateway
storage = Storage("storage", lab.storage, secret=secret, grants=grants(lab), **volumes)
tracking = Tracking(
    "tracking",
    lab.tracking,
    seed=seed,
    artifacts=storage.access["tracking"],
    watched=lab.monitoring is not None,
    **volumes,
)
serving = Serving(
    "serving",
    lab.releases,
    lab=lab.name,
    owner=lab.owner,
    store=storage.access,
    secret=secret,
    gateway=gateway,
    ready=[*platform.models_ready, *storage.ready],
    **pods,
)
if lab.monitoring:
    facts = watched(lab, signed_kubelets=cluster.signed_kubelets)
    section = lab.monitoring
    watch = Monitoring("monitoring", section, watched=facts, secret=secret, **volumes)
    pulumi.export("monitoring_url", watch.url)
    pulumi.export("alerts_url", watch.alerts_url)
if lab.monitoring and lab.guard:
    Guard(
        "guard",
        lab.guard,
        monitoring=lab.monitoring,
        releases=lab.releases,
        lab=lab.name,
        owner=lab.owner,
        artifacts=lab.tracking.bucket,
        **pods,
    )
if lab.takes_feedback:
    Feedback(
        "feedback", lab=lab.name, seed=seed, storage=storage, gateway=gateway, **pods
    )

pulumi.export("namespace", cluster.namespace)
pulumi.export("lab_image", cluster.image("lab"))
pulumi.export("gateway_url", gateway.url)
pulumi.export("storage_url", storage.url)
pulumi.export("tracking_url", tracking.url)
pulumi.export("model_hosts", serving.hosts)
pulumi.export("model_urls", serving.urls)
