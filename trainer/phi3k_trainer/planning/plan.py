"""The plan of a recipe: everything that `phi3k plan` prints, as one value in plain types."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from phi3k_trainer.planning.checkpoint_interval import best_interval
from phi3k_trainer.planning.flops import Sample, hardware_flops, step_flops
from phi3k_trainer.planning.gpus import GPUS, Gpu
from phi3k_trainer.planning.layout import SQUARE, TEXT_TOKENS, choose_layout, expected_sample
from phi3k_trainer.planning.memory import TRAINED_BYTES, Memory
from phi3k_trainer.planning.model_shape import ModelShape, shape_of
from phi3k_trainer.planning.parameters import Parts, parameters, trainable_parameters
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.sources import source_named

UTILISATION = {"full": 0.27, "lora": 0.25, "dora": 0.25, "qlora": 0.22}
"""Share of the peak that training reaches: what the published fine-tuning scripts report on 8 A100 (8.66, 12.1 and 10.5
pictures a second at 16 crops). DoRA is taken for LoRA."""

NO_BFLOAT16 = "no bfloat16"
TOO_LARGE = "too large"
"""Why a recipe does not run on a GPU."""

KNOWN_ROWS = {"DBQ/Burberry.Product.prices.United.States": 3040}
"""Rows of data sets that the ready recipes name."""

SAVED_BYTES_PER_SECOND = 1e9
SECONDS_BETWEEN_FAILURES = 24 * 3600.0
"""Suppositions behind `CheckpointPlan.every_seconds`: a shared file system's writes, and one failure or preemption a
day."""


@dataclass(frozen=True)
class CheckpointPlan:
    """What saving takes."""

    size_bytes: int
    """Trained weights and AdamW's two moments."""
    kept: int
    """Checkpoints on disk at once: the newest, the best, and the one being written."""
    every_seconds: float
    """Time between two saves that wastes least, under the suppositions above."""


@dataclass(frozen=True)
class GpuPlan:
    """The recipe on one kind of GPU."""

    gpu: str
    memory_bytes: int
    gpus: int
    parallel: Literal["ddp", "fsdp"]
    activation_checkpointing: bool
    needed: Memory
    fits: bool
    reason: str | None
    """Why it can't run, if it can't."""
    samples_per_second: float | None
    """All GPUs together; None where it can't run."""
    epoch_seconds: float | None
    """None where it can't run or the number of rows is unknown."""


@dataclass(frozen=True)
class Plan:
    """What a recipe takes."""

    recipe: str
    base: str
    method: str
    parameters: Parts
    trainable: Parts
    sample: Sample
    flops_per_sample: int
    rows: int | None
    """Rows of an epoch; None where it is unknown without the data."""
    samples_per_step: float
    checkpoint: CheckpointPlan
    max_new_tokens: int
    """Tokens that a generated answer may have; whether the data's answers fit is not known without the data."""
    gpus: int
    one_gpu: tuple[GpuPlan, ...]
    layout: tuple[GpuPlan, ...]
    """On all GPUs of the recipe; the same as `one_gpu` when it is one."""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types, with the totals."""
        values = asdict(self)
        values["parameters"]["total"] = self.parameters.total
        values["trainable"]["total"] = self.trainable.total
        values["sample"]["tokens"] = self.sample.tokens
        for name in ("one_gpu", "layout"):
            for row, gpu in zip(values[name], getattr(self, name), strict=True):
                row["needed"]["total"] = gpu.needed.total
        return values


def plan(
    recipe: Recipe,
    shape: ModelShape | None = None,
    *,
    gpus: tuple[Gpu, ...] = GPUS,
    rows: int | None = None,
    text_tokens: int = TEXT_TOKENS,
    picture: tuple[int, int] = SQUARE,
) -> Plan:
    """Plan a recipe on one GPU and on as many as it asks for, for each kind in `gpus`.

    `shape`: that of the recipe's base model where None. `rows`: training rows, where neither the recipe nor the table
    of known data sets tells them.
    """
    shape = shape or shape_of(recipe)
    sample = expected_sample(recipe, shape, text_tokens, picture)
    epoch_rows = rows if rows is not None else training_rows(recipe)
    count = max(1, recipe.cluster.gpus)
    trainable = trainable_parameters(shape, recipe.tuning)
    return Plan(
        recipe=recipe.name,
        base=recipe.model.base,
        method=recipe.tuning.method,
        parameters=parameters(shape),
        trainable=trainable,
        sample=sample,
        flops_per_sample=step_flops(shape, recipe.tuning, sample),
        rows=epoch_rows,
        samples_per_step=max(1.0, recipe.training.tokens_per_step / sample.tokens),
        checkpoint=_checkpoint(recipe, trainable.total),
        max_new_tokens=recipe.evaluation.max_new_tokens,
        gpus=count,
        one_gpu=tuple(_on_gpu(recipe, shape, sample, gpu, 1, epoch_rows) for gpu in gpus),
        layout=tuple(_on_gpu(recipe, shape, sample, gpu, count, epoch_rows) for gpu in gpus),
    )


def training_rows(recipe: Recipe) -> int | None:
    """Rows of an epoch as far as the recipe tells them, without those held out."""
    data = recipe.data
    is_drawn = source_named(data.source).reads == "nothing"
    known = data.sample.rows if is_drawn else KNOWN_ROWS.get(data.path or "")
    counts = [count for count in (known, data.max_rows) if count is not None]
    return round(min(counts) * (1 - data.eval_fraction)) if counts else None


def _checkpoint(recipe: Recipe, trained_weights: int) -> CheckpointPlan:
    size = 3 * TRAINED_BYTES * trained_weights
    every = best_interval(size / SAVED_BYTES_PER_SECOND, SECONDS_BETWEEN_FAILURES)
    return CheckpointPlan(size_bytes=size, kept=recipe.checkpoint.keep + 2, every_seconds=every)


def _on_gpu(recipe: Recipe, shape: ModelShape, sample: Sample, gpu: Gpu, count: int, rows: int | None) -> GpuPlan:
    layout = choose_layout(recipe, shape, gpu.memory_bytes, count, sample)
    peak = gpu.tflops(recipe.model.dtype)
    reason = None
    if peak is None:
        reason = NO_BFLOAT16
    elif layout.memory.total > gpu.memory_bytes:
        reason = TOO_LARGE
    per_second = None
    if peak is not None and reason is None:
        work = hardware_flops(shape, recipe.tuning, sample, activation_checkpointing=layout.activation_checkpointing)
        per_second = count * peak * 1e12 * UTILISATION[recipe.tuning.method] / work
    return GpuPlan(
        gpu=gpu.name,
        memory_bytes=gpu.memory_bytes,
        gpus=count,
        parallel=layout.parallel,
        activation_checkpointing=layout.activation_checkpointing,
        needed=layout.memory,
        fits=reason is None,
        reason=reason,
        samples_per_second=per_second,
        epoch_seconds=rows / per_second if rows is not None and per_second else None,
    )
