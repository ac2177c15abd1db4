"""Declare the lab that the selected stack describes."""

import pulumi

from components.cluster import Cluster, needed_images
from components.labels import label_everything, of_lab
from components.platform import Platform
from components.serving import Serving, model_buckets
from components.storage import Storage, grants
from components.tracking import Tracking
from stacks.load import load

lab = load()
secret = pulumi.Config().require_secret
label_everything(of_lab(lab.name, lab.owner))

cluster = Cluster("cluster", lab.cluster, lab=lab.name, needs=needed_images(lab))
on_cluster = pulumi.ResourceOptions(providers=[cluster.provider])

platform = Platform(
    "platform",
    lab.platform,
    image=cluster.image,
    seed=secret("seed"),
    issued=lab.credentials_issued,
    opts=on_cluster,
)
storage = Storage(
    "storage",
    lab.storage,
    namespace=cluster.namespace,
    image=cluster.image,
    storage_class=cluster.storage_class,
    secret=secret,
    grants=grants(
        lab.tracking.bucket,
        model_buckets(lab.releases),
        lab.predictions.bucket if lab.predictions else None,
        lab.storage.buckets,
    ),
    opts=on_cluster,
)
tracking = Tracking(
    "tracking",
    lab.tracking,
    namespace=cluster.namespace,
    image=cluster.image,
    storage_class=cluster.storage_class,
    seed=secret("seed"),
    artifacts=storage.access["tracking"],
    opts=on_cluster,
)
serving = Serving(
    "serving",
    lab.releases,
    lab=lab.name,
    owner=lab.owner,
    namespace=cluster.namespace,
    image=cluster.image("lab"),
    store=storage.access,
    secret=secret,
    gateway=platform.gateway,
    ready=[*platform.models_ready, *storage.ready],
    opts=on_cluster,
)

gateway_url = pulumi.Output.concat("http://", platform.gateway.address)
pulumi.export("namespace", cluster.namespace)
pulumi.export("lab_image", cluster.image("lab"))
pulumi.export("gateway_url", gateway_url)
pulumi.export("storage_url", storage.url)
pulumi.export("tracking_url", tracking.url)
pulumi.export("model_hosts", serving.hosts)
pulumi.export(
    "model_urls",
    {
        release: pulumi.Output.concat(gateway_url, f"/v1/models/{release}:predict")
        for release in serving.hosts
    },
)
