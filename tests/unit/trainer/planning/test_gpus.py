"""GPUs by the names people and drivers use."""

import pytest

from phi3k_trainer.errors import UsageError
from phi3k_trainer.planning import find_gpu, gpu_from_device_name

GIB = 2**30


@pytest.mark.parametrize("name", ["A100-80GB", "a100-80gb", "A100 80GB"])
def test_a_gpu_is_found_in_any_spelling(name: str) -> None:
    assert find_gpu(name).name == "A100-80GB"


def test_an_unknown_gpu_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean A100-80GB"):
        find_gpu("A100-80")


def test_a_name_of_several_sizes_is_answered_with_all_of_them() -> None:
    with pytest.raises(UsageError, match="did you mean A100-40GB or A100-80GB"):
        find_gpu("A100")


@pytest.mark.parametrize(
    ("device", "memory", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", 79.3, "A100-80GB"),
        ("NVIDIA A100-PCIE-40GB", 39.4, "A100-40GB"),
        ("NVIDIA H100 80GB HBM3", 79.1, "H100"),
        ("NVIDIA L40S", 44.4, "L40S"),
        ("NVIDIA L4", 22.2, "L4"),
        ("Tesla T4", 14.7, "T4"),
        ("Tesla V100-SXM2-32GB", 31.7, "V100-32GB"),
        ("NVIDIA GeForce RTX 4090", 23.6, "RTX-4090"),
    ],
)
def test_the_drivers_names_are_recognised(device: str, memory: float, name: str) -> None:
    gpu = gpu_from_device_name(device, int(memory * GIB))
    assert gpu is not None
    assert gpu.name == name


def test_a_device_that_is_not_in_the_table_is_none() -> None:
    assert gpu_from_device_name("AMD Instinct MI300X", 192 * GIB) is None
