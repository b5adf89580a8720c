"""The run with `TrainingClient.create_job`: phi3k's trainer in a function, which torchrun starts in the image."""

from kubeflow.training import TrainingClient
from kubeflow.training.models import V1EnvVar, V1Volume, V1VolumeMount
from kubernetes import client


def fine_tune() -> None:
    import sys

    from phi3k.main import main

    directories = ["--set", "checkpoint.directory=/runs", "--set", "data.cache=/cache/phi3k"]
    sys.exit(main(["train", "burberry-lora", "--resume", *directories]))


training = TrainingClient()
for claim in ("phi3k-cache", "phi3k-runs"):
    training.core_api.create_namespaced_persistent_volume_claim(
        training.namespace,
        client.V1PersistentVolumeClaim(
            metadata=client.V1ObjectMeta(name=claim),
            spec=client.V1PersistentVolumeClaimSpec(
                access_modes=["ReadWriteMany"],
                resources=client.V1VolumeResourceRequirements(requests={"storage": "200Gi"}),
            ),
        ),
    )
api_key = client.V1SecretKeySelector(name="wandb-api-key", key="WANDB_API_KEY")
training.create_job(
    name="burberry-lora",
    base_image="ghcr.io/phi3k/phi3k:0.1.0",
    train_func=fine_tune,
    num_procs_per_worker=8,
    resources_per_worker={"gpu": 8, "cpu": "8", "memory": "64Gi"},
    env_vars=[
        V1EnvVar(name="HF_HOME", value="/cache/huggingface"),
        V1EnvVar(name="WANDB_API_KEY", value_from=client.V1EnvVarSource(secret_key_ref=api_key)),
    ],
    volumes=[
        V1Volume(
            name="cache",
            persistent_volume_claim=client.V1PersistentVolumeClaimVolumeSource(claim_name="phi3k-cache"),
        ),
        V1Volume(
            name="runs",
            persistent_volume_claim=client.V1PersistentVolumeClaimVolumeSource(claim_name="phi3k-runs"),
        ),
        V1Volume(name="shm", empty_dir=client.V1EmptyDirVolumeSource(medium="Memory")),
    ],
    volume_mounts=[
        V1VolumeMount(name="cache", mount_path="/cache"),
        V1VolumeMount(name="runs", mount_path="/runs"),
        V1VolumeMount(name="shm", mount_path="/dev/shm"),
    ],
)
