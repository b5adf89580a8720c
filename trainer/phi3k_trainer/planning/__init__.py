"""Memory, time and layout of a run from closed formulas. Imports no torch."""

from phi3k_trainer.planning.checkpoint_interval import best_interval, wasted_fraction
from phi3k_trainer.planning.flops import Sample, forward_flops, hardware_flops, step_flops
from phi3k_trainer.planning.gpus import GPUS, Gpu, find_gpu, gpu_from_device_name
from phi3k_trainer.planning.layout import (
    Layout,
    check_fits,
    choose_activation_checkpointing,
    choose_layout,
    expected_sample,
    replica_fits,
)
from phi3k_trainer.planning.memory import Memory, peak_memory
from phi3k_trainer.planning.model_shape import ModelShape, VisionShape, shape_of
from phi3k_trainer.planning.parameters import Parts, parameters, trainable_parameters
from phi3k_trainer.planning.plan import GpuPlan, Plan, plan

__all__ = [
    "GPUS",
    "Gpu",
    "GpuPlan",
    "Layout",
    "Memory",
    "ModelShape",
    "Parts",
    "Plan",
    "Sample",
    "VisionShape",
    "best_interval",
    "check_fits",
    "choose_activation_checkpointing",
    "choose_layout",
    "expected_sample",
    "find_gpu",
    "forward_flops",
    "gpu_from_device_name",
    "hardware_flops",
    "parameters",
    "peak_memory",
    "plan",
    "replica_fits",
    "shape_of",
    "step_flops",
    "trainable_parameters",
    "wasted_fraction",
]
