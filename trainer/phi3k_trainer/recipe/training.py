"""How the model learns, is evaluated, kept and watched: `training`, `evaluation`, `checkpoint` and `tracking`."""

from typing import Literal

from pydantic import Field, field_validator

from phi3k_trainer.recipe.base import Section
from phi3k_trainer.recipe.environment import address_problem


class TrainingSection(Section):
    """The optimisation."""

    epochs: float = Field(default=1.0, gt=0, strict=False)
    """Passes over the training rows, unless max_steps ends it earlier."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimiser steps at most."""
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
    """Course of the learning rate after the warm-up, down to min_learning_rate_fraction of the peak."""
    min_learning_rate_fraction: float = Field(default=0.0, ge=0, le=1)
    """Where cosine and linear end, as a share of the peak."""
    warmup_fraction: float = Field(default=0.03, ge=0, le=1)
    """Share of the steps with a linear rise of the learning rate."""
    betas: tuple[float, float] = Field(default=(0.9, 0.95), strict=False)
    """AdamW's decay rates."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled decay; never on norms, biases and separators."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this global norm."""
    seed: int = Field(default=0, ge=0)
    """Decides sample order, dropout and new weights."""
    activation_checkpointing: Literal["auto", "on", "off"] = "auto"
    """Whether layers are computed again in the backward pass; auto asks the plan whether memory needs it."""
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """Several processes: replicate (ddp) or shard (fsdp); auto shards when one GPU can't hold a replica."""
    on_nonfinite: Literal["stop", "skip"] = "skip"
    """A step whose loss or gradient is not finite is skipped, or stops the run; ten skips in a row always stop it."""
    max_loss_spike: float | None = Field(default=None, gt=1)
    """Skip a step whose loss is over this multiple of the running median of the last 100; null: never."""
    early_stop_patience: int | None = Field(default=None, ge=1)
    """Stop after this many evaluations without a lower evaluation loss."""
    loader_threads: int = Field(default=2, ge=0)
    """Threads that decode and tokenise ahead of the step; 0 does it in between."""


class EvaluationSection(Section):
    """Evaluation on the held-out rows: the loss during training, generation at evaluation."""

    every_steps: int | None = Field(default=100, ge=1)
    """Evaluate every this many steps; null: only at the end."""
    max_samples: int = Field(default=200, ge=1)
    """Held-out rows that are used, the same each time."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest generated answer."""
    batch_size: int = Field(default=8, ge=1)
    """Rows generated at once."""
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
    """Newest checkpoints kept, in addition to the best."""


class WandbSection(Section):
    """Weights & Biases."""

    project: str = "phi3k"
    """Project of the run."""
    entity: str | None = None
    """Team or user; null: the account's default."""
    mode: Literal["auto", "online", "offline", "off"] = "auto"
    """auto goes online only with credentials and a reachable server, else offline, and says what it chose."""
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
