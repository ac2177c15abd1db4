"""Declare the lab that the selected stack describes."""

import pulumi

from components.backups import Backups
from components.cluster import Cluster, needed_images
from components.labels import label_everything, of_lab
from components.network import Network, ways
from components.platform import Platform
from components.quota import Quota
from components.serving import Serving
from components.storage import Storage, grants
from components.tracking import Tracking
from components.watch import watch
from stacks.load import load

lab = load()
secret = pulumi.Config().require_secret
label_everything(of_lab(lab.name, lab.owner))
cluster = Cluster("cluster", lab.cluster, lab=lab.name, needs=needed_images(lab))
pods, volumes = cluster.pods, cluster.volumes
platform = Platform(
    "platform",
    lab.platform,
    image=cluster.image,
    seed=secret("seed"),
    issued=lab.credentials_issued,
    opts=cluster.opts,
)
gateway = platform.gateway
storage = Storage("storage", lab.storage, secret=secret, grants=grants(lab), **volumes)
tracking = Tracking(
    "tracking",
    lab.tracking,
    seed=secret("seed"),
    artifacts=storage.access["tracking"],
    watched=lab.monitoring is not None,
    backed_up=lab.backups is not None,
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
homes = {"lab": cluster.namespace, **platform.namespaces}
if lab.backups:
    backups = Backups(
        "backups",
        lab.backups,
        lab=lab,
        storage=storage,
        tracking=tracking,
        secret=secret,
        **volumes,
    )
    homes |= backups.namespaces
if lab.capacity:
    Quota("quota", lab.capacity, namespace=cluster.namespace, opts=cluster.opts)
Network("network", ways(lab), namespaces=homes, opts=cluster.opts)
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
