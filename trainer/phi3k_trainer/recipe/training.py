"""How the model learns, is evaluated, kept, watched and exported: `training`, `evaluation` and the like."""

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator

from phi3k_trainer.recipe.base import Section
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.recipe.environment import address_problem
from phi3k_trainer.recipe.model import TuningSection

Weights = Literal["best", "last"]
Form = Literal["merged", "adapter"]

WHOLE_ANSWER_SCORES = ("exact_match", "parsed")
"""Scores of all fields of an answer together."""
FIELD_SCORES: Mapping[str, tuple[str, ...]] = {
    "category": ("parsed", "exact_match", "accuracy", "macro_f1"),
    "number": ("parsed", "exact_match", "mae", "mape", "median_ape", "within_10_percent"),
    "text": ("parsed", "exact_match", "chrf"),
}
"""Scores of one field, by what the field is."""


class TrainingSection(Section):
    """The optimisation."""

    epochs: float = Field(default=1.0, gt=0, strict=False)
    """Passes over the training rows, unless max_steps ends the run earlier."""
    max_steps: int | None = Field(default=None, ge=1)
    """Most optimiser steps; null: no limit."""
    tokens_per_step: int = Field(default=32768, ge=1)
    """A step takes samples, in order, until it holds at least this many tokens (pictures and padding-free text)."""
    tokens_per_batch: int = Field(default=8192, ge=1)
    """Tokens of one forward pass on one device, padding included; a longer sample goes alone."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak learning rate of the language model or its adapters."""
    vision_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of the CLIP tower; null: learning_rate, or a tenth of it when the tower is trained in full."""
    projector_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of the projector; null: learning_rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Schedule of the learning rate after the warm-up, down to min_learning_rate_fraction of the peak."""
    min_learning_rate_fraction: float = Field(default=0.0, ge=0, le=1)
    """Where cosine and linear end, as a share of the peak."""
    warmup_fraction: float = Field(default=0.03, ge=0, le=1)
    """Share of the steps in which the learning rate rises linearly."""
    betas: tuple[float, float] = Field(default=(0.9, 0.95), strict=False)
    """AdamW's decay rates."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled decay; never on norms, biases and separators."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this global norm."""
    seed: int = Field(default=0, ge=0)
    """Decides the order of samples, dropout and the first values of new weights."""
    activation_checkpointing: Literal["auto", "on", "off"] = "auto"
    """Whether layers are computed again in the backward pass; auto: where the plan says that memory needs it."""
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """Several processes: replicate (ddp) or shard (fsdp); auto shards when one GPU can't hold a replica."""
    on_nonfinite: Literal["stop", "skip"] = "skip"
    """A step whose loss or gradient is not finite is skipped, or stops the run; ten skips in a row always stop it."""
    max_loss_spike: float | None = Field(default=None, gt=1)
    """Skip a step whose loss is over this multiple of the running median of the last 100; null: never."""
    early_stop_patience: int | None = Field(default=None, ge=1)
    """Stop after this many evaluations without a lower evaluation loss."""
    loader_threads: int = Field(default=2, ge=0)
    """Threads that decode and tokenise ahead of the step; 0 does it between steps."""


class EvaluationSection(Section):
    """Evaluation on the held-out rows: the loss during training, generation at evaluation."""

    every_steps: int | None = Field(default=100, ge=1)
    """Evaluate every this many steps; null: only at the end."""
    max_samples: int = Field(default=200, ge=1)
    """Held-out rows that are used, the same each time."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest generated answer."""
    batch_size: int = Field(default=8, ge=1)
    """Rows whose answers are generated at once."""
    generate_during_training: bool = True
    """Whether each evaluation also generates the answers of the table of fixed samples."""
    table_samples: int = Field(default=8, ge=1)
    """Rows of the table of fixed samples."""
    blind: bool = True
    """Whether the last evaluation runs again with the pictures shuffled between rows."""
    categories: tuple[str, ...] = Field(default=(), strict=False)
    """Answer fields that are categories (accuracy, majority baseline); numbers and text are known by their values."""


class CheckpointSection(Section):
    """What is kept of a run, and how often."""

    directory: str = "runs"
    """A run lives in <directory>/<name>."""
    every_steps: int | None = Field(default=None, ge=1)
    """Save every this many steps."""
    every_minutes: float | None = Field(default=10.0, gt=0, strict=False)
    """Save this many minutes after the last save."""
    keep: int = Field(default=3, ge=1)
    """Newest checkpoints kept, in addition to the best (see `export.score`)."""


class WandbSection(Section):
    """Weights & Biases."""

    project: str = "phi3k"
    """Project of the run."""
    entity: str | None = None
    """Team or user; null: the account's default."""
    mode: Literal["auto", "online", "offline", "off"] = "auto"
    """auto: online where there are credentials and the server answers, else offline; the log says which and why."""
    base_url: str | None = None
    """Address of the server; null: WANDB_BASE_URL or the public one."""
    artifacts: bool = True
    """Whether checkpoints are uploaded as artifacts (online only)."""

    @field_validator("base_url")
    @classmethod
    def _base_url_is_an_address(cls, address: str | None) -> str | None:
        if address is not None and (problem := address_problem(address)):
            raise ValueError(problem)
        return address


class TrackingSection(Section):
    """Where the numbers of a run go, in addition to metrics.jsonl and report.html."""

    wandb: WandbSection = WandbSection()
    """Server, project and mode of Weights & Biases."""
    every_steps: int = Field(default=1, ge=1)
    """Steps between two logged points."""


class ExportSection(Section):
    """The model that the run writes at its end, into `export` in its directory."""

    at_end: bool = False
    """Whether the run writes it; `phi3k export` does so later, too."""
    weights: Weights = "best"
    """The weights of the best evaluation, or those of the last step."""
    score: str | None = None
    """The score that decides the best evaluation: one of evaluation.json, such as `exact_match` or `price/median_ape`.
    Each evaluation during training then answers all held-out rows that it uses. null: the loss on these rows."""
    form: Form = "merged"
    """A whole model with the adapters merged, or the adapters alone, in PEFT's format."""

    @field_validator("score")
    @classmethod
    def _score_is_known(cls, score: str | None) -> str | None:
        if score is None or score in WHOLE_ANSWER_SCORES:
            return score
        field, _, metric = score.rpartition("/")
        metrics = sorted({name for names in FIELD_SCORES.values() for name in names})
        if not field or metric not in metrics:
            raise ValueError(
                f"is not a score: use {' or '.join(WHOLE_ANSWER_SCORES)}, or FIELD/METRIC with one of "
                f"{', '.join(metrics)}"
            )
        return score


def export_problem(
    export: ExportSection, data: DataSection, tuning: TuningSection, evaluation: EvaluationSection
) -> str | None:
    """Why the run could not write this export, None where it can."""
    if export.score is not None and not evaluation.generate_during_training:
        return "export.score needs generated answers: set evaluation.generate_during_training to true"
    if export.score is not None and (absent := _absent_field(export.score, data)):
        return f"export.score names the field '{absent}', which data.answer does not have"
    needs_rows = export.score is not None or (export.at_end and export.weights == "best")
    if needs_rows and data.eval_fraction == 0:
        return (
            "without held-out rows no evaluation can choose the best weights: raise data.eval_fraction above 0, or "
            "set export.weights to 'last' and export.score to null"
        )
    if export.at_end and export.form == "adapter":
        full = [name for name in ("method", "vision", "projector") if getattr(tuning, name) == "full"]
        if full:
            return f"export.form 'adapter' would lose the weights of tuning.{full[0]} 'full': set it to 'merged'"
    return None


def _absent_field(score: str, data: DataSection) -> str | None:
    """The field that the score names, where answers don't have it. Without a template the answer is the only field."""
    field = score.rpartition("/")[0]
    if data.answer is None:
        is_there = field == "answer"
    elif isinstance(data.answer, str):
        is_there = re.search(rf"\{{{re.escape(field)}[:}}]", data.answer) is not None
    else:
        is_there = field in (key.removesuffix("?") for key in data.answer["json"])
    return None if not field or is_there else field
