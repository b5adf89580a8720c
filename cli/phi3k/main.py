"""The command `phi3k`: its verbs, and the one place where an error becomes a message and an exit code."""

import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from phi3k.commands import (
    cache,
    data,
    doctor,
    evaluate,
    export,
    fetch,
    init,
    logs,
    plan,
    predict,
    recipe,
    render,
    runs,
    submit,
    train,
)
from phi3k_trainer.errors import Phi3kError, UsageError
from phi3k_trainer.terminal import escaped, escaped_message

INTERRUPTED_EXIT_CODE = 130
BROKEN_PIPE_EXIT_CODE = 141
UNEXPECTED_EXIT_CODE = 70
# A thirtieth of libgomp's default. A thread that spins longer keeps the core, on a busy machine, from the thread that
# it
# waits for.
TURNS_BEFORE_A_THREAD_SLEEPS = "10000"

app = typer.Typer(
    name="phi3k",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"phi3k {version('phi3k')}")
        raise typer.Exit


@app.callback()
def phi3k(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Fine-tune Phi-3-Vision from one recipe, on this machine or on Kubernetes."""


HERE, CLUSTER, RECIPES = "Train here", "On a cluster", "Data and recipes"
for panel, modules in {
    HERE: (train, evaluate, predict, export, plan, doctor),
    CLUSTER: (submit, render, runs, logs, fetch),
    RECIPES: (init,),
}.items():
    for module in modules:
        module.register(app, panel)
app.add_typer(cache.app, rich_help_panel=CLUSTER)
app.add_typer(recipe.app, rich_help_panel=RECIPES)
app.add_typer(data.app, rich_help_panel=RECIPES)


def run() -> None:
    """Run the command line of this process and exit with its code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", TURNS_BEFORE_A_THREAD_SLEEPS)
    arguments = sys.argv[1:]
    sys.exit(main([argument for argument in arguments if argument != "--debug"], debug="--debug" in arguments))


def main(arguments: Sequence[str], *, debug: bool = False) -> int:
    """Run one command line; returns its exit code.

    0 is success, 64-78 say what is wrong (sysexits), 130 is Ctrl-C, 143 a run that was stopped and has saved.
    """
    try:
        result = app(list(arguments), standalone_mode=False, prog_name="phi3k")
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted; what is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE_EXIT_CODE
    except Exception as error:
        return _report(error, debug=debug)
    if result == INTERRUPTED_EXIT_CODE:  # typer turns most Ctrl-C into this result by itself
        print("interrupted", file=sys.stderr)
    return result if isinstance(result, int) else 0


def _report(error: Exception, *, debug: bool) -> int:
    """Print an error for the user, with its traceback only under --debug; returns the exit code."""
    if debug:
        print(escaped("".join(traceback.format_exception(error))), file=sys.stderr)
    if isinstance(error, Phi3kError):
        print(f"phi3k: {escaped_message(str(error))}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "phi3k"
        message = escaped_message(error.format_message()).rstrip(".")
        if message:  # without one the help has been shown instead
            print(f"phi3k: {message}. Try `{command} --help`.", file=sys.stderr)
        return UsageError.exit_code
    what = f"unexpected {type(error).__name__}: {escaped_message(str(error))}"
    print(f"phi3k: {what}. Run again with --debug for details.", file=sys.stderr)
    return UNEXPECTED_EXIT_CODE


if __name__ == "__main__":
    run()
