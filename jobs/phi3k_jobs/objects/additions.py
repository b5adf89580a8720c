"""What `cluster.pod` adds to a pod and its container, each part in the form that Kubernetes has for it. Pure."""

from phi3k_jobs.objects.manifest import Manifest
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.recipe.cluster_pod import PodSection, VolumeSection

# A service mesh's sidecar outlives the trainer and holds its GPUs: none is injected unless the recipe asks for it.
NO_SIDECAR_LABELS = {"sidecar.istio.io/inject": "false"}
NO_SIDECAR_ANNOTATIONS = {"linkerd.io/inject": "disabled"}
FS_GROUP_CHANGE_POLICY = "OnRootMismatch"


def pod_labels(own: dict[str, str], section: PodSection) -> dict[str, str]:
    """Return the labels of a pod that has its `own`."""
    return {**NO_SIDECAR_LABELS, **section.labels, **own}


def pod_annotations(own: dict[str, str], section: PodSection) -> dict[str, str]:
    """Return the annotations of a pod that has its `own`."""
    return {**NO_SIDECAR_ANNOTATIONS, **section.annotations, **own}


def account_name(recipe: Recipe) -> str:
    """Return the name of the pod's service account: the recipe's, else the run's own."""
    return recipe.cluster.pod.service_account or recipe.name


def security(section: PodSection) -> Manifest:
    """Return the users and groups of a pod; what is null is left to the namespace."""
    context: Manifest = {}
    for field, value in (("runAsUser", section.user), ("runAsGroup", section.group), ("fsGroup", section.fs_group)):
        if value is not None:
            context[field] = value
    if section.fs_group is not None:
        context["fsGroupChangePolicy"] = FS_GROUP_CHANGE_POLICY
    if section.supplemental_groups:
        context["supplementalGroups"] = list(section.supplemental_groups)
    return context


def scheduling(section: PodSection) -> Manifest:
    """Return scheduler, runtime class and network of a pod, without what is not set."""
    spec: Manifest = {}
    if section.scheduler:
        spec["schedulerName"] = section.scheduler
    if section.runtime_class:
        spec["runtimeClassName"] = section.runtime_class
    if section.host_network:
        spec |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    return spec


def volumes(section: PodSection) -> list[Manifest]:
    """Return the further volumes of a pod."""
    return [{"name": volume.name, **volume.source} for volume in section.volumes]


def mounts(section: PodSection) -> list[Manifest]:
    """Return where the container sees them."""
    return [_mount(volume) for volume in section.volumes]


def _mount(volume: VolumeSection) -> Manifest:
    mount: Manifest = {"name": volume.name, "mountPath": volume.path, "readOnly": volume.read_only}
    if volume.sub_path is not None:
        mount["subPath"] = volume.sub_path
    return mount


def resource_claims(section: PodSection) -> list[Manifest]:
    """Return the pod's claims of devices."""
    return [
        {"name": entry.name, "resourceClaimName": entry.claim}
        if entry.claim is not None
        else {"name": entry.name, "resourceClaimTemplateName": entry.template}
        for entry in section.resource_claims
    ]
