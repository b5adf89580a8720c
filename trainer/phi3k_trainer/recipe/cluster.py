"""Where a run is placed on Kubernetes: the section `cluster`."""

import ipaddress
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from phi3k_trainer.contract import KindName
from phi3k_trainer.recipe import environment
from phi3k_trainer.recipe.base import Section
from phi3k_trainer.recipe.cluster_pod import PodSection, overlay_problem
from phi3k_trainer.recipe.durations import LONGEST_SECONDS, Duration

# Kubernetes stores retries times nodes in an int32.
MOST_GPUS = 100_000
NAMESPACE = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
EGRESS_TO = (
    r"^([0-9.]+(/[0-9]+)?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(/[0-9]+)?"
    r"|[a-z]([-a-z0-9]*[a-z0-9])?\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.svc(\.cluster\.local)?)?)$"
)


class ClaimSection(Section):
    """A persistent volume claim."""

    claim: str = Field(min_length=1)
    """Name of the claim."""
    size: str = "200Gi"
    """Requested size when it is created."""
    storage_class: str | None = None
    """Storage class; null: the cluster's default."""
    access_modes: tuple[Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"], ...] = Field(
        default=("ReadWriteMany",), min_length=1, strict=False
    )
    """Several nodes need ReadWriteMany."""
    create: bool = True
    """Whether submit creates the claim where it is missing; it is never deleted."""


class CacheClaimSection(ClaimSection):
    """The claim of models and data, read by every run."""

    claim: str = Field(default="phi3k-cache", min_length=1)
    """Name of the claim."""


class RunsClaimSection(ClaimSection):
    """The claim of run directories and checkpoints."""

    claim: str = Field(default="phi3k-runs", min_length=1)
    """Name of the claim."""


class TolerationSection(Section):
    """A toleration, as in a pod."""

    key: str | None = None
    """Taint key; null with Exists: every taint."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """How the taint is compared."""
    value: str | None = None
    """Taint value, for Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect; null: all of them."""
    toleration_seconds: int | None = Field(default=None, ge=0, le=LONGEST_SECONDS)
    """How long a NoExecute taint is tolerated; null: forever."""


class ResourcesSection(Section):
    """CPU and memory of one replica, in addition to its GPUs."""

    cpu: str = "8"
    """CPUs, as a Kubernetes quantity."""
    memory: str = "64Gi"
    """Memory, as a Kubernetes quantity."""
    shared_memory: str = "16Gi"
    """Size of /dev/shm: NCCL and data loading use it."""
    ephemeral_storage: str = "20Gi"
    """Local disk of the container."""
    cpu_limit: str | None = Field(default=None, min_length=1)
    """CPU limit, for namespaces that require one; null: no limit, so that idle cores are used."""


class EgressSection(Section):
    """One more destination that the network policy allows."""

    port: int = Field(ge=1, le=65535)
    """Port of the pod or machine behind the address: of a Service its `targetPort`, not its `port`."""
    protocol: Literal["TCP", "UDP"] = "TCP"
    """Protocol."""
    to: str | None = Field(default=None, pattern=EGRESS_TO)
    """An address, a range (`10.0.0.0/8`), or a Service as `name.namespace`: all pods there; null: anywhere."""

    @field_validator("to")
    @classmethod
    def _an_address_is_one(cls, to: str | None) -> str | None:
        if to is not None and (":" in to or to[0].isdigit()):
            try:
                ipaddress.ip_network(to, strict=False)
            except ValueError as error:
                raise ValueError(
                    f"should be an address, a range such as 10.0.0.0/8, or name.namespace: {error}"
                ) from None
        return to


PART_OF_A_GPU = r"/mig-|\.shared$"
"""In the names that NVIDIA's device plugin gives to MIG devices and, renamed, to time-sliced GPUs."""


class ClusterSection(Section):
    """The size of the job, and where it runs."""

    kind: Literal["auto", KindName] = "auto"
    """auto takes the first of pytorchjob, trainjob and job that the cluster has; where no cluster is asked, job."""
    namespace: str | None = Field(default=None, pattern=NAMESPACE)
    """Namespace; null: that of the current context."""
    image: str = "ghcr.io/phi3k/phi3k:0.1.0"
    """The trainer image."""
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    """When the image is pulled."""
    image_pull_secrets: tuple[str, ...] = Field(default=(), strict=False)
    """Secrets with registry credentials."""
    gpus: int = Field(default=8, ge=0, le=MOST_GPUS)
    """Total number of GPUs; 0 trains on the CPU."""
    gpus_per_node: int = Field(default=8, ge=1, le=MOST_GPUS)
    """GPUs of one node; gpus must fit or be a multiple of it."""
    nodes: int | None = Field(default=None, ge=1, le=MOST_GPUS)
    """Replicas; null: as many as the GPUs need."""
    gpu_resource: str = Field(default="nvidia.com/gpu", pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")
    """Extended resource that stands for one GPU; must have a domain, such as nvidia.com/gpu."""
    queue: str | None = None
    """Kueue local queue."""
    queue_priority: str | None = None
    """Kueue WorkloadPriorityClass: decides the order in the queue and who is preempted; null: priority_class does."""
    priority_class: str | None = None
    """Priority class of the pods."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels a node must have."""
    tolerations: tuple[TolerationSection, ...] = Field(default=(), strict=False)
    """Taints that the pods tolerate."""
    topology: str | None = None
    """Node label whose value all replicas should share, such as a rack's; null: anywhere."""
    resources: ResourcesSection = ResourcesSection()
    """CPU, memory and disk of one replica."""
    cache: CacheClaimSection = CacheClaimSection()
    """Model and data, read by every run."""
    runs: RunsClaimSection = RunsClaimSection()
    """Run directories and checkpoints."""
    wandb_secret: str | None = "wandb-api-key"
    """Secret with key `WANDB_API_KEY` and, for a server of your own, `WANDB_BASE_URL`; it may be missing."""
    hf_secret: str | None = None
    """Secret with key `HF_TOKEN` and, for a hub of your own, `HF_ENDPOINT`."""
    deadline: Duration | None = None
    """Time limit of a run, such as 12h; null: no limit."""
    retries: int = Field(default=3, ge=0, le=10_000)
    """Restarts of a replica after a failure that may not happen again."""
    keep_finished: Duration | None = "7d"
    """How long the finished job stays listed; null: until it is cancelled. A TrainJob always stays until then."""
    grace: Duration = "5m"
    """Time between SIGTERM and SIGKILL: one step plus one save must fit."""
    network_policy: bool = True
    """Whether egress is limited to DNS, the peers, the web and the addresses that the recipe names."""
    egress: tuple[EgressSection, ...] = Field(default=(), strict=False)
    """More destinations that the network policy allows: `{port: 9000, to: minio.tools}`."""
    disruption_budget: bool = False
    """Whether a PodDisruptionBudget prevents voluntary evictions."""
    pod_monitor: bool = False
    """Whether the pods serve metrics on port 9464 and a PodMonitor lets the Prometheus operator find them."""
    log_format: Literal["text", "json"] = "text"
    """Format of the log lines."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment variables of the trainer, stored in the pod only; for secrets see `pod`."""
    pod: PodSection = PodSection()
    """What your namespace requires of the pod, or your team adds: labels, accounts, volumes, users, secrets."""
    overlay: dict[str, Any] = Field(default_factory=dict)
    """Strategic merge patch on the pod template, merged last: `{spec: {containers: [{name: trainer, tty: true}]}}`."""

    @field_validator("overlay")
    @classmethod
    def _overlay_is_of_a_pod(cls, overlay: dict[str, Any]) -> dict[str, Any]:
        if problem := overlay_problem(overlay):
            raise ValueError(problem)
        return overlay

    @model_validator(mode="after")
    def _one_pod_affinity(self) -> Self:
        if self.topology is not None and "podAffinity" in self.pod.affinity:
            raise ValueError("topology and pod.affinity.podAffinity both decide which nodes the pods share: remove one")
        return self

    @field_validator("env")
    @classmethod
    def _env_is_fit_to_be_read(cls, env: dict[str, str]) -> dict[str, str]:
        if found := list(environment.problems(env)):
            raise ValueError("; ".join(found))
        return env

    @model_validator(mode="after")
    def _a_variable_has_one_value(self) -> Self:
        for name in sorted(self.env.keys() & self.pod.env_secrets.keys()):
            raise ValueError(f"env and pod.env_secrets both set {name}: remove one")
        return self

    @model_validator(mode="after")
    def _a_token_goes_where_its_owner_says(self) -> Self:
        if self.hf_secret and environment.HUB_ADDRESS_VARIABLE in {*self.env, *self.pod.env_secrets}:
            raise ValueError(
                f"can't set {environment.HUB_ADDRESS_VARIABLE} together with hf_secret: put it into that secret,"
                " next to the token"
            )
        return self
