"""The ``nnad`` command: ``nnad train | evaluate | predict | explain | ...``.

Exit status: 0 done; 2 bad config, data or usage, a line for every problem; 3 training diverged;
130 and 143 interrupted by SIGINT and SIGTERM.

A command is a function of its arguments, with a parser of its own, in a file of its own in this
folder and a line in `COMMANDS`.  Only the command that is called is imported, and whatever is not
needed to read its command line is imported inside of it.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Callable, Sequence

from nnad.cli.running import BAD_INPUT, complain, run

__all__ = ["COMMANDS", "command", "main", "run"]

# Name -> what the help says of it.  The file and the function in it have that name, with "_" after
# one that Python has taken.
COMMANDS: dict[str, str] = {
    "train": "Train a network as a YAML file describes it.",
    "evaluate": "Print the metrics of a run's best checkpoint on the test part.",
    "predict": "Write the predictions of a run's best checkpoint for the rows of a file.",
    "generate": "Print text that a run's best checkpoint writes after a prompt.",
    "export": "Write a run's best model as ONNX, as a predictor of its own, weights or a card.",
    "report": "Write a run's report: a page with curves, errors, advice and all that made it.",
    "compare": "Set runs side by side: scores, times, and the settings in which they differ.",
    "sweep": "Train a job with many settings, several at once, and show which are best.",
    "crossval": "Train a job once for each fold of its data; show mean and spread of the scores.",
    "ensemble": "Train a job from several seeds, and score what its members say together.",
    "explain": "Show how the derivative of a formula is computed, one row an operation.",
    "profile": "Show where the time of a training step goes, by layer and operation.",
    "plan": "Predict step time, memory and efficiency of a job in several processes.",
    "list": "List the layers, losses, optimizers, schedules, metrics, callbacks or datasets.",
    "show": "Show what a layer, loss, optimizer, schedule, metric, callback or dataset takes.",
    "schema": "Print the JSON schema of configurations, by which editors complete and check them.",
    "completion": "Print a script by which a shell completes nnad's commands and options.",
}


def command(name: str) -> Callable[..., int]:
    """The function behind the command `name`: takes its arguments, returns the exit status."""
    own = f"{name}_" if hasattr(builtins, name) else name
    function: Callable[..., int] = getattr(importlib.import_module(f"nnad.cli.{own}"), own)
    return function


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (the process's own if None); returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else BAD_INPUT
    if arguments[0] == "--version":
        import nnad

        print(f"nnad {nnad.__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        from nnad.errors import did_you_mean

        complain(f"nnad: unknown command {name!r}{did_you_mean(name, COMMANDS)} (see nnad --help)")
        return BAD_INPUT
    return run(command(name), rest)


def usage() -> str:
    """The help text of ``nnad`` itself."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "usage: nnad COMMAND ...",
            "",
            *(f"  {name:{width}}  {text}" for name, text in COMMANDS.items()),
            "",
            "nnad COMMAND --help tells more; nnad --version tells the version.",
            "example: nnad train --config mlp.yaml optimizer.lr=0.01 trainer.epochs=5",
        ]
    )
