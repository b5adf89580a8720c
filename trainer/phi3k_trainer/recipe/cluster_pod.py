"""What a team adds to the trainer's pod: the section `cluster.pod`."""

import re
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from phi3k_trainer.contract import CACHE, INSTALLATION, RECIPES, RUNS, SCRATCH, SHARED_MEMORY
from phi3k_trainer.recipe.base import Section
from phi3k_trainer.recipe.environment import SECTION_OF, is_name

OBJECT_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
"""Name of a Secret or ConfigMap."""
SECRET_KEY = r"^[-._a-zA-Z0-9]+$"
VOLUME_NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
MOUNT_PATH = r"^(/[^/:]+)+$"
OWN_VOLUMES = ("recipe", "cache", "runs", "scratch", "shm")
"""Names of the volumes that every trainer's pod has."""
_OWN_PLACES = (CACHE, RUNS, SCRATCH, SHARED_MEMORY, RECIPES, INSTALLATION)
OWN_PATH = f"^/({'|'.join(place.removeprefix('/') for place in _OWN_PLACES)}|opt|etc|dev|proc|sys|usr|bin|lib|lib64)$"
"""Where a further volume would hide what the trainer needs."""
OWN_KEY = (
    r"^(phi3k/.*|app\.kubernetes\.io/(name|instance|version|component|managed-by)"
    r"|kueue\.x-k8s\.io/(queue-name|priority-class))$"
)
"""Labels and annotations by which phi3k, or the queue that it names, finds a run."""


class EnvFromSection(Section):
    """A Secret or a ConfigMap whose keys become variables: one of the two."""

    secret: str | None = Field(default=None, pattern=OBJECT_NAME)
    """Name of the Secret."""
    config_map: str | None = Field(default=None, pattern=OBJECT_NAME)
    """Name of the ConfigMap."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.secret is None) == (self.config_map is None):
            raise ValueError("should name either a secret or a config_map")
        return self


class SecretKeySection(Section):
    """One key of a Secret."""

    secret: str = Field(pattern=OBJECT_NAME)
    """Name of the Secret."""
    key: str = Field(pattern=SECRET_KEY)
    """Key in it."""


class VolumeSection(Section):
    """A further volume, mounted into the trainer's container."""

    name: str = Field(pattern=VOLUME_NAME)
    """Name of the volume."""
    path: str = Field(pattern=MOUNT_PATH)
    """Where the container sees it."""
    source: dict[str, Any]
    """What it is, as in a pod: `{persistentVolumeClaim: {claimName: catalogue}}`, or nfs, configMap, secret, csi."""
    read_only: bool = True
    """Whether it is mounted read-only."""
    sub_path: str | None = Field(default=None, min_length=1)
    """Path inside the volume; null: its root."""

    @model_validator(mode="after")
    def _is_apart(self) -> Self:
        if self.name in OWN_VOLUMES:
            raise ValueError(f"can't be called {self.name}: phi3k has a volume of that name")
        if re.search(OWN_PATH, self.path):
            raise ValueError(f"can't be mounted at {self.path}: it would hide what the trainer needs")
        if len(self.source) != 1:
            raise ValueError("should have one source, such as {persistentVolumeClaim: {claimName: catalogue}}")
        return self


class ResourceClaimSection(Section):
    """Devices by dynamic resource allocation: a claim or a template for one, by name."""

    name: str = Field(pattern=VOLUME_NAME)
    """Name of the claim inside the pod."""
    claim: str | None = Field(default=None, pattern=OBJECT_NAME)
    """Name of the ResourceClaim."""
    template: str | None = Field(default=None, pattern=OBJECT_NAME)
    """Name of the ResourceClaimTemplate: each pod gets a claim of its own."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.claim is None) == (self.template is None):
            raise ValueError("should name either a claim or a template")
        return self


def overlay_problem(overlay: Mapping[str, Any]) -> str | None:
    """Why `cluster.overlay` is not a patch on a pod template; None where it is one."""
    for name, part in overlay.items():
        if name not in ("metadata", "spec"):
            return f"has {name}: a pod template has only metadata and spec"
        if not isinstance(part, Mapping):
            return f"{name} should be a mapping"
    if other := sorted(overlay.get("metadata", {}).keys() - {"labels", "annotations"}):
        return f"metadata has {other[0]}: only labels and annotations can be set there"
    return None


class PodSection(Section):
    """What a team adds to the trainer's pod."""

    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the pods, the job and its PodMonitor, such as a team's or a scheduler's queue."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of the pods and the job."""
    service_account: str | None = Field(default=None, pattern=OBJECT_NAME)
    """An existing account, such as one with a cloud identity; null: a new one of the run, without any rights."""
    scheduler: str | None = Field(default=None, min_length=1)
    """Scheduler that places the pods; null: the cluster's default."""
    runtime_class: str | None = Field(default=None, pattern=OBJECT_NAME)
    """Runtime class, such as nvidia on k3s and RKE2; null: the node's default."""
    affinity: dict[str, Any] = Field(default_factory=dict)
    """Affinity as in a pod: nodeAffinity, podAffinity, podAntiAffinity."""
    host_network: bool = False
    """Whether the pods use the node's network."""
    volumes: tuple[VolumeSection, ...] = Field(default=(), strict=False)
    """Further volumes: claims, NFS, ConfigMaps and Secrets as files."""
    extra_resources: dict[str, str] = Field(default_factory=dict)
    """Further resources of a replica, requested and limited: `{rdma/hca: "1", hugepages-2Mi: 4Gi}`."""
    resource_claims: tuple[ResourceClaimSection, ...] = Field(default=(), strict=False)
    """Devices by dynamic resource allocation."""
    capabilities: tuple[str, ...] = Field(default=(), strict=False)
    """Capabilities that are added, such as IPC_LOCK for RDMA; a namespace that enforces restricted refuses them."""
    user: int | None = Field(default=10001, ge=1)
    """User id of the processes; null: the namespace chooses (OpenShift)."""
    group: int | None = Field(default=10001, ge=1)
    """Group id of the processes; null: the namespace chooses."""
    fs_group: int | None = Field(default=10001, ge=1)
    """Group that owns the files of the volumes; null: not set."""
    supplemental_groups: tuple[int, ...] = Field(default=(), strict=False)
    """Further groups of the processes, such as an NFS export's."""

    env_from: tuple[EnvFromSection, ...] = Field(default=(), strict=False)
    """Secrets and ConfigMaps whose keys become variables, such as `{secret: object-store}`; they must exist."""
    env_secrets: dict[str, SecretKeySection] = Field(default_factory=dict)
    """Variables from keys of Secrets: `{AWS_SECRET_ACCESS_KEY: {secret: object-store, key: secret-key}}`."""

    @field_validator("labels", "annotations")
    @classmethod
    def _no_key_of_ours(cls, given: dict[str, str]) -> dict[str, str]:
        for key in sorted(given):
            if re.search(OWN_KEY, key):
                raise ValueError(f"can't set {key}: phi3k sets it itself")
        return given

    @field_validator("volumes")
    @classmethod
    def _volumes_differ(cls, given: tuple[VolumeSection, ...]) -> tuple[VolumeSection, ...]:
        for what in ("name", "path"):
            values = [getattr(volume, what) for volume in given]
            if repeated := sorted({value for value in values if values.count(value) > 1}):
                raise ValueError(f"two volumes have the {what} {repeated[0]}")
        return given

    @field_validator("env_secrets")
    @classmethod
    def _names_of_variables(cls, given: dict[str, SecretKeySection]) -> dict[str, SecretKeySection]:
        for name in sorted(given):
            if name in SECTION_OF:
                raise ValueError(f"can't set {name}: name its secret in cluster.{SECTION_OF[name]}")
            if not is_name(name):
                raise ValueError(f"{name!r} can't be the name of a variable: use letters, digits and _")
        return given
