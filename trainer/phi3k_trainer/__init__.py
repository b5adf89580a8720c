"""The trainer of phi3k: everything that fine-tunes Phi-3-Vision, here and on GPUs. docs/python.md shows its use."""

import logging
from typing import TYPE_CHECKING

from phi3k_trainer.lazy import lazy_names

if TYPE_CHECKING:
    from phi3k_trainer.errors import Phi3kError
    from phi3k_trainer.planning.gpus import find_gpu
    from phi3k_trainer.planning.plan import Plan, plan
    from phi3k_trainer.recipe import Recipe, dump_recipe, load_recipe, override_recipe, parse_recipe
    from phi3k_trainer.recipe.ready import ready_recipe, ready_recipes
    from phi3k_trainer.trained.asking import EvaluatedRun, evaluate_base, evaluate_run, predict
    from phi3k_trainer.trained.export import Export, export_run
    from phi3k_trainer.trained.opening import Trained
    from phi3k_trainer.trained.opening import load_trained as open_run
    from phi3k_trainer.training.run import RunResult, train
else:
    # What these modules import takes seconds; a command that shows a recipe needs none of it.
    __getattr__ = lazy_names(
        __name__,
        {
            "EvaluatedRun": "trained.asking",
            "Export": "trained.export",
            "Phi3kError": "errors",
            "Plan": "planning.plan",
            "Recipe": "recipe",
            "RunResult": "training.run",
            "Trained": "trained.opening",
            "dump_recipe": "recipe",
            "evaluate_base": "trained.asking",
            "evaluate_run": "trained.asking",
            "export_run": "trained.export",
            "find_gpu": "planning.gpus",
            "load_recipe": "recipe",
            "open_run": "trained.opening:load_trained",
            "override_recipe": "recipe",
            "parse_recipe": "recipe",
            "plan": "planning.plan",
            "predict": "trained.asking",
            "ready_recipe": "recipe.ready",
            "ready_recipes": "recipe.ready",
            "train": "training.run",
        },
    )

__all__ = [
    "EvaluatedRun",
    "Export",
    "Phi3kError",
    "Plan",
    "Recipe",
    "RunResult",
    "Trained",
    "dump_recipe",
    "evaluate_base",
    "evaluate_run",
    "export_run",
    "find_gpu",
    "load_recipe",
    "open_run",
    "override_recipe",
    "parse_recipe",
    "plan",
    "predict",
    "ready_recipe",
    "ready_recipes",
    "train",
]

# peft imports bitsandbytes, which warns of a missing optional CPU kernel even where nothing is quantised.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
