"""Volumes for claims of any access mode: directories of this machine, all on the default storage class."""

from pathlib import Path

STORAGE_CLASS = "phi3k-test"
# A released volume isn't used again, so there must be as many as the tests make claims.
COUNT = 120


def storage(directory: Path) -> dict[str, object]:
    """Make the directories; return the storage class and its volumes.

    Any user may write in them: `fsGroup` doesn't reach a directory of the host.
    """
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate",
    }
    volumes = [volume(directory, f"volume-{number:03}") for number in range(COUNT)]
    return {"apiVersion": "v1", "kind": "List", "items": [storage_class, *volumes]}


def volume(directory: Path, name: str, storage_class: str = STORAGE_CLASS) -> dict[str, object]:
    """One volume, larger than any claim by what it says."""
    path = directory / name
    path.mkdir(parents=True)
    path.chmod(0o777)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": storage_class,
            "capacity": {"storage": "10Ti"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(path), "type": "Directory"},
        },
    }
