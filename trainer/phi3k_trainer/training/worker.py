"""One process of a run on a cluster: trains, and reports to the entry point how it ended."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from phi3k_trainer.contract import ALL_RANKS_VARIABLE, OUTCOMES_VARIABLE, OUTPUT_VARIABLE
from phi3k_trainer.errors import Phi3kError
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.replica.exit_report import ExitReport, write_exit_report
from phi3k_trainer.replica.relay import send_output
from phi3k_trainer.terminal import escaped_message


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the recipe, continuing from its newest checkpoint if there is one; return the documented exit code."""
    parser = argparse.ArgumentParser(prog="phi3k-worker", description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    options = parser.parse_args(arguments)
    if os.environ.get("LOCAL_RANK", "0") != "0" and os.environ.get(ALL_RANKS_VARIABLE) != "1":
        send_output(Path(os.environ[OUTPUT_VARIABLE]), int(os.environ["RANK"]))
    outcome = _train(options.recipe, options.overrides)
    if outcome is not None:
        write_exit_report(Path(os.environ[OUTCOMES_VARIABLE]), int(os.environ.get("RANK", "0")), outcome)
        return outcome.exit_code
    return 1


def _train(recipe_path: str, overrides: Sequence[str]) -> ExitReport | None:
    """Return how training ended; None if it failed in an unforeseen way, such as a lost peer."""
    # torch takes seconds to import: a wrong recipe is reported before that.
    try:
        recipe = load_recipe(recipe_path, overrides)
        from phi3k_trainer.training.run import train

        result = train(recipe, resume=True)
    except Phi3kError as error:
        print(f"error: {escaped_message(str(error))}", file=sys.stderr, flush=True)
        return ExitReport(error.exit_code, str(error), getattr(error, "step", None), getattr(error, "checkpoint", None))
    except Exception:
        traceback.print_exc()
        return None
    return ExitReport(0, "done", result.steps, str(result.checkpoint))


if __name__ == "__main__":
    sys.exit(main())
