"""The recipe: one typed document that describes a run completely."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from phi3k_trainer.recipe.base import Section
from phi3k_trainer.recipe.cluster import ClusterSection
from phi3k_trainer.recipe.data import DataSection
from phi3k_trainer.recipe.model import NF4_BLOCK, TINY, ModelSection, TuningSection
from phi3k_trainer.recipe.training import (
    CheckpointSection,
    EvaluationSection,
    ExportSection,
    TrackingSection,
    TrainingSection,
    export_problem,
)

LONGEST_NAME = 40
RUN_NAME = rf"^[a-z]([-a-z0-9]{{0,{LONGEST_NAME - 2}}}[a-z0-9])?$"


class Recipe(Section):
    """Everything about a run, from the model to its place on a cluster."""

    apiVersion: Literal["phi3k/v1"]  # noqa: N815 - spelled as in Kubernetes
    """Version of this format."""
    name: str = Field(pattern=RUN_NAME)
    """Name of the run: a DNS label of at most 40 characters."""
    model: ModelSection
    """Which model is tuned."""
    data: DataSection
    """Rows, pictures and the conversation made from them."""
    tuning: TuningSection = TuningSection()
    """Which weights learn, and how."""
    training: TrainingSection = TrainingSection()
    """Steps, batches, learning rates and the policies around them."""
    evaluation: EvaluationSection = EvaluationSection()
    """What is measured on held-out rows, and when."""
    checkpoint: CheckpointSection = CheckpointSection()
    """What is kept, and how often."""
    tracking: TrackingSection = TrackingSection()
    """Where the metrics are reported."""
    export: ExportSection = ExportSection()
    """The model that the run writes at its end."""
    cluster: ClusterSection = ClusterSection()
    """Size of the job, and where it runs on Kubernetes."""

    @property
    def run_path(self) -> Path:
        """The directory of the run."""
        return Path(self.checkpoint.directory).expanduser() / self.name

    @model_validator(mode="after")
    def _quantized_weights_are_not_sharded(self) -> Self:
        if self.tuning.method == "qlora" and self.training.parallel == "fsdp":
            raise ValueError("method 'qlora' has 4-bit weights, which fsdp can't shard: set training.parallel to 'ddp'")
        return self

    @model_validator(mode="after")
    def _export_can_be_made(self) -> Self:
        problem = export_problem(self.export, self.data, self.tuning, self.evaluation)
        if problem:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _quantized_rows_are_whole_blocks(self) -> Self:
        width = self.model.tiny.hidden_size
        if self.tuning.method == "qlora" and self.model.base == TINY and width % NF4_BLOCK:
            raise ValueError(
                f"method 'qlora' rounds blocks of {NF4_BLOCK} weights, and model.tiny.hidden_size is {width}:"
                f" set it to a multiple of {NF4_BLOCK}, or tuning.method to 'lora'"
            )
        return self
