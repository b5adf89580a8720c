"""GPUs that were asked for and are not there, and devices that compute wrong, are refused with what was seen."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from phi3k_trainer.distributed.gpus import SeenGpus, check_count, check_product
from phi3k_trainer.errors import UnavailableError

EIGHT = SeenGpus(
    count=8,
    cuda="13.2",
    error=None,
    driver="NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06",
    devices=tuple(f"/dev/nvidia{number}" for number in range(8)),
    passed="all",
)


class OneBitWrong(TorchFunctionMode):
    """A device whose floating products have one element that is off by one."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.__name__ in ("matmul", "__matmul__") and result.is_floating_point():
            result[17, 200] += 1
        return result


def test_as_many_gpus_as_processes_are_accepted() -> None:
    check_count(16, 8, EIGHT)


def test_fewer_gpus_than_processes_are_refused_with_both_numbers() -> None:
    with pytest.raises(UnavailableError, match=r"cluster\.gpus is 16, 8 in each replica, torch sees 7\."):
        check_count(16, 8, replace(EIGHT, count=7))


@pytest.mark.parametrize(
    ("seen", "remedy"),
    [
        (replace(EIGHT, count=0, cuda=None, error="Torch not compiled with CUDA enabled"), "cluster.image"),
        (replace(EIGHT, count=0, devices=(), driver=None, error="Found no NVIDIA driver"), "runtime class"),
        (replace(EIGHT, count=0, error="The NVIDIA driver on your system is too old"), "Update the node's driver"),
        (replace(EIGHT, count=1), "of MIG's parts torch sees one"),
    ],
)
def test_each_cause_has_its_own_remedy_and_shows_what_was_seen(seen: SeenGpus, remedy: str) -> None:
    with pytest.raises(UnavailableError, match=re.escape(remedy)) as refused:
        check_count(8, 8, seen)
    assert str(seen) in str(refused.value)
    assert (seen.error or "torch's error: none") in str(seen)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_device_that_computes_right_is_accepted(dtype: torch.dtype) -> None:
    check_product(torch.device("cpu"), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_wrong_element_of_the_known_product_refuses_the_device_by_name(dtype: torch.dtype) -> None:
    with OneBitWrong(), pytest.raises(UnavailableError, match=r"device cpu of .* computes wrong: 1 of 65536 elements"):
        check_product(torch.device("cpu"), dtype)


def test_a_device_that_fails_at_the_product_is_refused_with_its_error() -> None:
    with pytest.raises(UnavailableError, match=r"device meta of .* can't multiply torch.float32 matrices: "):
        check_product(torch.device("meta"), torch.float32)
