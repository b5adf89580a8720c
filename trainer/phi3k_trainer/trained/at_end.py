"""The export that a run writes itself, when its training is over, and the record of what it wrote."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, with_config

from phi3k_trainer.checkpoints.files import checkpoint_step
from phi3k_trainer.checkpoints.tensor_file import FileDigest
from phi3k_trainer.directories import discard
from phi3k_trainer.errors import OutputError
from phi3k_trainer.files import convert, damage_named, encode_json, read_json, write_atomically
from phi3k_trainer.recipe import Recipe
from phi3k_trainer.recipe.training import Form, Weights
from phi3k_trainer.run_directory import EXPORT_RECORD, REMEDIES, RunDirectory
from phi3k_trainer.trained.export import put_in_place, write_export
from phi3k_trainer.trained.opening import best_checkpoint


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class ExportRecord:
    """The content of export.json: what lies in the run's directory `export`."""

    step: int
    """Optimiser step of the weights."""
    form: Form
    weights: Weights
    """Why this step: it was the last, or that of the best evaluation."""
    score: str | None
    """What that evaluation was the best in; None: the loss."""
    reload_difference: float
    """Relative difference of the logits between what was written and what was read again."""
    merge_difference: float
    """Relative difference of the logits between the trained model and the exported weights."""
    only_phi3k_because: str
    """Why no other program can load it; empty where others can."""
    files: Mapping[str, FileDigest]
    """Every file by its name."""

    def describes(self, directory: Path) -> bool:
        """Whether the files in `directory` are these, as far as their names and sizes tell."""
        sizes = {path.name: path.stat().st_size for path in directory.iterdir()}
        return sizes == {name: digest.num_bytes for name, digest in self.files.items()}


def check_export_place(recipe: Recipe, run: RunDirectory) -> None:
    """Refuse, before anything is trained, a run whose export would have to replace what somebody else put there.

    Raises:
        OutputError: the directory holds something that the run did not write.
        MissingInputError: the record can't be read.
    """
    if recipe.export.at_end and _holds_anything(run.export) and _record(run) is None:
        raise OutputError(
            f"{run.export} holds something that this run did not write, and export.at_end wants that place: move it "
            "away, or set export.at_end to false"
        )


def write_export_at_end(recipe: Recipe, run: RunDirectory, last: Path, beat: Callable[[], None]) -> ExportRecord:
    """Write the export that the recipe asks for, unless it is there; an older one is replaced when this is proved.

    Args:
        recipe: The recipe in force.
        run: The run's directory, which this process holds.
        last: The checkpoint of the last step.
        beat: Called often, as a sign of life.

    Raises:
        OutputError: As in `check_export_place`.
        StorageError: It can't be written.
        MissingInputError: There is no checkpoint of a best evaluation, or the base model is gone.
        TrainingError: The written model computes something else.
    """
    wanted = recipe.export
    checkpoint = last if wanted.weights == "last" else best_checkpoint(last, wanted.score)
    check_export_place(recipe, run)
    there = _record(run)
    if there is not None and (there.step, there.form) == (checkpoint_step(checkpoint), wanted.form):
        return there
    with put_in_place(run.export) as unfinished:
        made = write_export(checkpoint, run.export, unfinished, wanted.form, beat)
        record = ExportRecord(
            step=made.step,
            form=wanted.form,
            weights=wanted.weights,
            score=wanted.score if wanted.weights == "best" else None,
            reload_difference=made.reload_difference,
            merge_difference=made.merge_difference,
            only_phi3k_because=made.only_phi3k_because,
            files=made.files,
        )
        if there is not None:
            discard(run.export)
        # Before the files get their name: a record without them is a run that lacks its export.
        write_atomically(run.export_record, encode_json(record, indent=2), "checkpoint.directory")
    return record


def _record(run: RunDirectory) -> ExportRecord | None:
    """The record of what lies in the run's directory `export`; None where nothing does, or something else."""
    if not (run.export_record.exists() and _holds_anything(run.export)):
        return None
    remedy = REMEDIES[EXPORT_RECORD]
    with damage_named(run.export_record, remedy):
        record = convert(ExportRecord, read_json(run.export_record, remedy))
    return record if record.describes(run.export) else None


def _holds_anything(directory: Path) -> bool:
    return directory.is_symlink() or (directory.exists() and any(directory.iterdir()))
