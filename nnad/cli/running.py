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


def complain(*lines: str) -> None:
    """Print lines to stderr."""
    for line in lines:
        print(line, file=sys.stderr)


def show_warning(message: Any, category: Any, *args: Any, **kwargs: Any) -> None:
    """Tell a warning as one line, without the place in our source it was raised at."""
    complain(f"warning: {' '.join(str(message).split())}")
