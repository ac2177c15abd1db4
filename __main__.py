"""Declare the lab that the selected stack describes."""

import pulumi

from components.cluster import Cluster, needed_images
from components.labels import label_everything, of_lab
from components.platform import Platform
from components.serving import Serving
from components.storage import Storage, grants
from components.tracking import Tracking
from components.watch import watch
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
watching = watch(lab, cluster, secret=secret, storage=storage, gateway=gateway)

outputs = {
    **watching,
    "namespace": cluster.namespace,
    "lab_image": cluster.image("lab"),
    "gateway_url": gateway.url,
    "storage_url": storage.url,
    "tracking_url": tracking.url,
    "model_hosts": serving.hosts,
    "model_urls": serving.urls,
}
for name, value in outputs.items():
    pulumi.export(name, value)
