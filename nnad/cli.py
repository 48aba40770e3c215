"""The ``nnad`` command: ``nnad train | evaluate | predict | ...``.

Exit status: 0 done; 2 bad config, data or usage, a line for every problem; 3 training diverged;
130 and 143 interrupted by SIGINT and SIGTERM.

A command is a function of its arguments, with a parser of its own, in `COMMANDS`.  Whatever is not
needed to read the command line is imported inside of it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from nnad.errors import DivergedError, NnadError, UserError

__all__ = ["COMMANDS", "main"]

BAD_INPUT = 2
DIVERGED = 3


class Parser(argparse.ArgumentParser):
    """Tells a wrong command line in one line, as every other problem is told."""

    def error(self, message: str) -> NoReturn:
        """Print `message` and exit with status 2."""
        self.exit(BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def train(arguments: Sequence[str], prog: str = "nnad train") -> int:
    """Train a network as a YAML file describes it."""
    parser = Parser(prog, description=train.__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--config", metavar="FILE", help="the job; a bare name is looked up in configs/ too"
    )
    what.add_argument("--resume", metavar="RUN", help="continue a run as if it had never stopped")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--print-config", action="store_true", help="print the resolved job and exit")
    mode.add_argument("--check", action="store_true", help="run one batch, print shapes and exit")
    mode.add_argument("--overwrite", action="store_true", help="replace an existing run")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="such as optimizer.lr=0.01"
    )
    options = parser.parse_intermixed_args(arguments)

    from nnad.training.callbacks import Interruption

    with Interruption() as interruption:
        from nnad.training import job  # takes long enough for a signal to come

        if options.resume:
            if options.print_config or options.check or options.overwrite:
                parser.error("--resume goes with none of --print-config, --check, --overwrite")
            print(job.resume(options.resume, options.overrides, interruption))
        elif options.print_config:
            sys.stdout.write(job.resolved_text(options.config, options.overrides))
        elif options.check:
            print(job.check(options.config, options.overrides))
        else:
            print(job.start(options.config, options.overrides, options.overwrite, interruption))
    return 0


def evaluate(arguments: Sequence[str], prog: str = "nnad evaluate") -> int:
    """Print the metrics of a run's best checkpoint on the test part."""
    parser = Parser(prog, description=evaluate.__doc__)
    parser.add_argument("run", help="the run's folder, such as runs/mlp")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)

    from nnad.training import inference

    scores = inference.evaluate_run(options.run)
    print(json.dumps(scores, indent=2) if options.json else inference.score_table(scores))
    return 0


def predict(arguments: Sequence[str], prog: str = "nnad predict") -> int:
    """Write the predictions of a run's best checkpoint for the rows of a CSV file."""
    parser = Parser(prog, description=predict.__doc__)
    parser.add_argument("run", help="the run's folder, such as runs/mlp")
    parser.add_argument("--input", required=True, metavar="CSV", help="rows; columns found by name")
    parser.add_argument("--output", required=True, metavar="CSV", help="where to write them")
    options = parser.parse_args(arguments)

    from nnad.training import inference

    rows = inference.predict_file(options.run, options.input, options.output)
    print(f"{rows} predictions written to {options.output}")
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
}


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
    return run(COMMANDS[name], rest)


def run(command: Callable[..., int], arguments: Sequence[str], **keywords: Any) -> int:
    """Call a command and turn whatever ends it into messages on stderr and an exit status."""
    from nnad.training.callbacks import Interrupted

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            warnings.simplefilter("always", UserWarning)
            return command(arguments, **keywords)
    except UserError as error:
        complain(*error.problems)
        return BAD_INPUT
    except DivergedError as error:
        complain(str(error))
        return DIVERGED
    except NnadError as error:
        complain(*str(error).splitlines())
        return BAD_INPUT
    except Interrupted as error:
        complain(*error.args)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `nnad ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        from nnad.training.checkpoint import describe_os_error

        complain(f"{error.filename or 'input/output'}: {describe_os_error(error)}")
        return BAD_INPUT
    except MemoryError as error:
        complain(f"not enough memory: {error}; try a smaller data.batch_size or model")
        return BAD_INPUT


def usage() -> str:
    """The help text of ``nnad`` itself."""
    width = max(map(len, COMMANDS))
    lines = (
        f"  {name:{width}}  {(command.__doc__ or '').partition(chr(10))[0]}"
        for name, command in COMMANDS.items()
    )
    return "\n".join(
        [
            "usage: nnad COMMAND ...",
            "",
            *lines,
            "",
            "nnad COMMAND --help tells more; nnad --version tells the version.",
            "example: nnad train --config mlp.yaml optimizer.lr=0.01 trainer.epochs=5",
        ]
    )


def complain(*lines: str) -> None:
    """Print lines to stderr."""
    for line in lines:
        print(line, file=sys.stderr)


def show_warning(message: Any, category: Any, *args: Any, **kwargs: Any) -> None:
    """Tell a warning as one line, without the place in our source it was raised at."""
    complain(f"warning: {' '.join(str(message).split())}")


if __name__ == "__main__":
    sys.exit(main())
