"""scikit-learn's callback protocol (`sklearn.callback`), where the installed version has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["CallbackSupport", "HostCallbacks"]

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupport
except ImportError:  # an older scikit-learn: no callbacks to call

    class CallbackSupport:  # type: ignore[no-redef]
        """Stands in for scikit-learn's mixin."""


class HostCallbacks:
    """Tells the callbacks that were set by ``estimator.set_callbacks`` how the fit goes.

    Args:
        estimator: being fitted.
        x, y, sample_weight: what it is fitted to.
        epochs: at most; 0 for a solver without epochs.
        snapshot: attributes of an estimator that is ready to predict as of now.
    """

    def __init__(
        self,
        estimator: Any,
        x: Any,
        y: Any,
        sample_weight: Any,
        epochs: int,
        snapshot: Callable[[], dict[str, Any]],
    ) -> None:
        self.estimator = estimator
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        self.arguments = {"estimator": estimator, "X": x, "y": y, "metadata": metadata}
        self.snapshot = snapshot
        self.task: Any = None
        self.root: Any = None
        listening = hasattr(estimator, "_skl_callbacks") or hasattr(
            estimator, "_parent_callback_ctx"
        )
        if listening and hasattr(estimator, "_init_callback_context"):
            self.root = estimator._init_callback_context(max_subtasks=epochs)
            self.root.call_on_fit_task_begin(**self.arguments)

    def epoch_begins(self) -> None:
        """Announce an epoch."""
        if self.root is not None:
            self.task = self.root.subcontext(task_name="epoch")
            self.task.call_on_fit_task_begin(**self.arguments)

    def epoch_ends(self) -> bool:
        """Announce its end; returns whether a callback asks to stop."""
        if self.root is None:
            return False
        return self.task.call_on_fit_task_end(
            **self.arguments, reconstruction_attributes=self.snapshot
        )

    def fit_ends(self) -> None:
        """Announce the end of the fit."""
        if self.root is not None:
            self.root.call_on_fit_task_end(
                **self.arguments, reconstruction_attributes=self.snapshot
            )
