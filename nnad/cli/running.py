"""What ends a command becomes messages on stderr and an exit status."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from nnad.errors import DivergedError, NnadError, UserError

BAD_INPUT = 2
DIVERGED = 3


def run(command: Callable[..., int], arguments: Sequence[str], **keywords: Any) -> int:
    """Call a command and turn whatever ends it into messages on stderr and an exit status."""
    from nnad.training.callbacks import Interrupted

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            warnings.simplefilter("always", UserWarning)
            return command(arguments, **keywords)
    except UserError as error:
        return end(BAD_INPUT, *error.problems)
    except DivergedError as error:
        return end(DIVERGED, str(error))
    except NnadError as error:
        return end(BAD_INPUT, *str(error).splitlines())
    except Interrupted as error:
        return end(error.exit_status, *error.args)
    except KeyboardInterrupt:
        return end(130)
    except BrokenPipeError:  # the reader of our output has gone, as in `nnad ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        from nnad.training.checkpoint import describe_os_error

        return end(BAD_INPUT, f"{error.filename or 'input/output'}: {describe_os_error(error)}")
    except MemoryError as error:
        return end(BAD_INPUT, f"not enough memory: {error}; try a smaller data.batch_size or model")


def end(status: int, *lines: str) -> int:
    """Tell `lines` on stderr, once for all processes of the job; returns the exit status."""
    from nnad.distributed import Communicator, world

    try:
        group = world()
    except UserError:  # which may be what is to be told
        group = Communicator()
    return group.end(status, lines)


def say(text: str) -> None:
    """Print a result, unless another process of the job does or there is none.

    What the terminal has no sign for is shown as ``\\u2603``.
    """
    from nnad.distributed import world

    if text and world().leads:
        encoding = sys.stdout.encoding or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding))


def complain(*lines: str) -> None:
    """Print lines to stderr."""
    for line in lines:
        print(line, file=sys.stderr)


def show_warning(message: Any, category: Any, *args: Any, **kwargs: Any) -> None:
    """Tell a warning as one line, without the place in our source it was raised at."""
    from nnad.distributed.launch import world

    if world().leads:
        complain(f"warning: {' '.join(str(message).split())}")
