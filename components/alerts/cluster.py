"""Alerts about what the lab runs on: pods, volumes, jobs, the node."""

from __future__ import annotations

from components.alerts.alert import PAGE, TICKET, Alert
from components.watched import Watched

DESCRIBE = "`kubectl --namespace NAMESPACE describe pod {{ $labels.pod }}` says why."


def alerts(watched: Watched) -> list[Alert]:
    """The alerts of the cluster, as far as the lab sees it."""
    return [
        Alert(
            name="PodRestarts",
            expr="sum by (pod, container)\n"
            "  (increase(kube_pod_container_status_restarts_total[15m])) > 2",
            severity=TICKET,
            summary="{{ $labels.pod }}: {{ $labels.container }} restarts again and "
            "again",
            why="While it starts it answers nobody.",
            do="`kubectl --namespace NAMESPACE logs --previous {{ $labels.pod }} "
            "{{ $labels.container }}` shows its last words.",
        ),
        Alert(
            name="PodNotStarting",
            expr='sum by (pod) (kube_pod_status_phase{phase="Pending"}) > 0',
            hold="10m",
            severity=TICKET,
            summary="{{ $labels.pod }} does not start",
            why="It waits for room, an image, a volume or a Secret.",
            do=DESCRIBE,
        ),
        Alert(
            name="PodsMissing",
            expr="sum by (deployment) (kube_deployment_spec_replicas)\n"
            "  - sum by (deployment) (kube_deployment_status_replicas) > 0\n"
            "or sum by (statefulset) (kube_statefulset_replicas)\n"
            "  - sum by (statefulset) (kube_statefulset_status_replicas) > 0",
            hold="5m",
            severity=PAGE,
            summary="{{ $labels.deployment }}{{ $labels.statefulset }}: "
            "{{ $value }} pods cannot be made",
            why="The cluster refuses them: a quota, a policy, or KServe's webhook is "
            "away.",
            do="`kubectl --namespace NAMESPACE get events --field-selector "
            "reason=FailedCreate` says why.",
        ),
        Alert(
            name="JobFailed",
            expr='kube_job_failed{condition="true",'
            'job_name!~"(batch|backup|drill)-.+"} == 1\n'
            "and on (job_name) time() - kube_job_created < 86400",
            severity=TICKET,
            summary="the job {{ $labels.job_name }} failed",
            why="What it was to make (a trained model, a bucket) is not there.",
            do="`kubectl --namespace NAMESPACE logs job/{{ $labels.job_name }}` says "
            "why.",
        ),
        Alert(
            name="VolumeAlmostFull",
            expr="1 - min by (persistentvolumeclaim)\n"
            f'  (kubelet_volume_stats_available_bytes{{namespace="{watched.lab}"}}\n'
            "  / kubelet_volume_stats_capacity_bytes) > 0.9",
            hold="5m",
            severity=PAGE,
            summary="the volume {{ $labels.persistentvolumeclaim }} is "
            "{{ $value | humanizePercentage }} full",
            why="Whatever writes to it stops when it is full.",
            do="Raise the section's `capacity` and run `lab up`.",
        ),
        Alert(
            name="NodeMemoryLow",
            expr="sum by (instance) (node_memory_working_set_bytes)\n"
            "  / sum by (instance) (machine_memory_bytes) > 0.9",
            hold="5m",
            severity=TICKET,
            summary="{{ $labels.instance }}: {{ $value | humanizePercentage }} of the "
            "memory is in use",
            why="When it is gone the kernel ends processes, models first.",
            do="`lab status` shows the releases: retire variants that are not used, or "
            "lower `replicas`.",
        ),
        Alert(
            name="NodeDiskLow",
            expr='max by (instance, device) (container_fs_usage_bytes{id="/"}\n'
            "  / container_fs_limit_bytes) > 0.9",
            hold="5m",
            severity=PAGE,
            summary="{{ $labels.instance }}: {{ $labels.device }} is "
            "{{ $value | humanizePercentage }} full",
            why="Pods are evicted, images cannot be loaded, databases stop.",
            do="Make room on the node; `lab status` shows what runs there.",
        ),
    ]
