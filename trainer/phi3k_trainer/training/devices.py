"""The plan for the devices of this machine: the layout to train with, and how fast they could be."""

import os
from pathlib import Path

import torch

from phi3k_trainer.data.dataset import Example
from phi3k_trainer.data.encoding import MeasuredExamples
from phi3k_trainer.distributed.processes import Processes
from phi3k_trainer.files import read_json
from phi3k_trainer.images.grid import hd_shape, image_tokens
from phi3k_trainer.planning.flops import Sample, distinct_views, step_flops
from phi3k_trainer.planning.gpus import gpu_from_device_name
from phi3k_trainer.planning.host import host_memory_bytes
from phi3k_trainer.planning.layout import Layout, check_fits
from phi3k_trainer.planning.model_shape import ModelShape
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.training.speed import SpeedMeter

SAMPLES_TO_COUNT = 1000

PICTURE_CACHE_BYTES = 1_100_000_000
"""Decoded training pictures kept by the processes of one machine together: 3,000 of one 336-pixel crop fit."""


def model_shape(base: Path) -> ModelShape:
    """The sizes of the model in the directory `base`, for the plan."""
    return ModelShape.from_config(read_json(base / "config.json"))


def training_layout(recipe: Recipe, shape: ModelShape, processes: Processes) -> Layout:
    """Replicated or sharded, with or without recomputation: what the recipe says, and the plan where that is `auto`.

    Processes on the CPU share the machine's memory.

    Raises:
        RecipeError: a GPU, or this machine, is too small; with the fields to change.
    """
    if processes.device.type == "cuda":
        memory = torch.cuda.get_device_properties(processes.device).total_memory
    else:
        memory = host_memory_bytes() // _processes_of_this_machine()
    return check_fits(recipe, shape, memory, processes.world_size)


def picture_cache_bytes() -> int:
    """This process's share of PICTURE_CACHE_BYTES."""
    return PICTURE_CACHE_BYTES // _processes_of_this_machine()


def _processes_of_this_machine() -> int:
    """How many processes torchrun has started here."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def speed_meter(recipe: Recipe, shape: ModelShape, data: MeasuredExamples, processes: Processes) -> SpeedMeter:
    """A meter that knows the model FLOPs of this data's tokens, and the peak of the GPUs where the table has them."""
    peak = None
    if processes.device.type == "cuda":
        properties = torch.cuda.get_device_properties(processes.device)
        gpu = gpu_from_device_name(properties.name, properties.total_memory)
        tflops = gpu.tflops(recipe.model.dtype) if gpu else None
        peak = tflops * 1e12 * processes.world_size if tflops else None
    return SpeedMeter(flops_per_token=flops_per_token(recipe, shape, data), peak_flops=peak)


def flops_per_token(recipe: Recipe, shape: ModelShape, data: MeasuredExamples) -> float:
    """Model FLOPs of a step by its tokens, over the first thousand samples (their order is that of a hash)."""
    samples = [
        _sample(example, int(tokens), int(labels), recipe.model.num_crops, shape)
        for example, tokens, labels in zip(
            data.examples[:SAMPLES_TO_COUNT], data.num_tokens, data.num_labels, strict=False
        )
    ]
    flops = sum(step_flops(shape, recipe.tuning, sample) for sample in samples)
    return flops / sum(sample.tokens for sample in samples)


def _sample(example: Example, tokens: int, labels: int, num_crops: int, shape: ModelShape) -> Sample:
    grids = [hd_shape(image.width, image.height, num_crops) for image in example.images]
    in_pictures = sum(image_tokens(*grid, shape.vision.merged_per_side**2) for grid in grids)
    return Sample(
        text_tokens=tokens - in_pictures,
        image_tokens=in_pictures,
        views=sum(distinct_views(*grid) for grid in grids),
        label_tokens=labels,
    )
