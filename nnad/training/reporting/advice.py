"""Plain advice: what stands out in a run, and what to try.

Each rule looks at one thing and says nothing where there is nothing to say. They are rules of
thumb: the thresholds are where experience says that looking closer pays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnad.training.reporting.classes import calibration, predicted, recalls
from nnad.training.reporting.evidence import Evidence
from nnad.training.reporting.internals import HEALTHY_RATIO, matrices
from nnad.training.reporting.numbers import predicted_numbers

if TYPE_CHECKING:
    from nnad.training.config import Config

__all__ = ["Advice", "advise"]

OVERFITTED = 1.05  # validation loss at the end over its best
STILL_FALLING = 0.02  # of the loss, in the last tenth of the epochs
HARDLY_FELL = 0.95
RESTLESS = 0.35  # of the epochs with a rising training loss
DEAD = 0.25
SATURATED = 0.5
VANISHED = 1e-3  # of the last layer's gradient, entry by entry
EXPLODED = 100.0  # times the median norm
IMBALANCE = 5.0
POOR_RECALL = 0.5
MISCALIBRATED = 0.05
BIASED = 0.1  # of the residuals' deviation
LESS = "more epochs, or less dropout and label_smoothing"
AROUND_MEDIAN = ("mae", "quantile")  # losses that do not ask for the mean


@dataclass(frozen=True)
class Advice:
    """A sentence or two.

    Attributes:
        kind: ``good``, ``note`` or ``warning``.
        text: what was seen, and what to try.
    """

    kind: str
    text: str


def advise(evidence: Evidence) -> list[Advice]:
    """All that the rules have to say about a run, warnings first."""
    found = [advice for rule in RULES for advice in rule(evidence)]
    if not any(advice.kind == "warning" for advice in found):
        found.append(Advice("good", "Nothing alarming stands out."))
    return sorted(found, key=lambda advice: ("warning", "note", "good").index(advice.kind))


def of_overfitting(evidence: Evidence) -> Iterator[Advice]:
    """Validation loss rises while training loss falls."""
    train, validation = (np.array(evidence.history.get(f"{n}_loss", [])) for n in ("train", "val"))
    if len(validation) < 3 or not np.isfinite(validation).any():
        return
    best = int(np.nanargmin(validation))
    rises = validation[-1] > validation[best] * OVERFITTED and validation[best] > 0
    if rises and train[-1] < train[best]:
        yield Advice(
            "warning",
            f"Overfitting since epoch {best + 1}: from there the validation loss rose from "
            f"{validation[best]:.4g} to {validation[-1]:.4g} while the training loss still fell. "
            f"Try {against_overfitting(evidence.config)}.",
        )


def against_overfitting(config: Config) -> str:
    """What a job may try that it does not do yet, or do more of."""
    used = {
        "dropout": "dropout" in str(config.model).lower(),
        "weight decay": bool(config.optimizer.arguments.get("weight_decay")),
    }
    stop = [] if config.trainer.early_stopping else ["early_stopping"]
    more = [f"more {name}" if there else name for name, there in used.items()]
    return ", ".join([*stop, *more, "a smaller network or more data"])


def of_length(evidence: Evidence) -> Iterator[Advice]:
    """The loss still falls at the end."""
    name = "val_loss" if "val_loss" in evidence.history else "train_loss"
    loss = np.array(evidence.history.get(name, []))
    tail = max(2, len(loss) // 10)
    if len(loss) < 5 or not np.isfinite(loss).all() or loss[-1] > loss.min():
        return
    before = loss[-tail - 1]
    if before > 0 and (before - loss[-1]) / before > STILL_FALLING:
        yield Advice(
            "note",
            f"{name} was still falling at the end ({(before - loss[-1]) / before:.0%} in the last "
            f"{tail} epochs): more epochs should help.",
        )


def of_progress(evidence: Evidence) -> Iterator[Advice]:
    """The training loss hardly falls, or jumps up and down."""
    train = np.array(evidence.history.get("train_loss", []))
    if len(train) < 5 or not np.isfinite(train).all():
        return
    rising = float(np.mean(np.diff(train) > 0))
    if train[0] > 0 and train[-1] > HARDLY_FELL * train[0]:
        yield Advice(
            "warning",
            f"The training loss hardly fell ({train[0]:.4g} to {train[-1]:.4g}): the learning rate "
            "may be far too low or too high, or the inputs not scaled (data.standardize).",
        )
    elif rising > RESTLESS:
        schedule = (
            " a schedule such as cosine," if evidence.config.schedule.name == "constant" else ""
        )
        yield Advice(
            "note",
            f"The training loss rose in {rising:.0%} of the epochs: the learning rate may be high; "
            f"try a lower one,{schedule} or larger batches.",
        )


def of_rate(evidence: Evidence) -> Iterator[Advice]:
    """Updates are large or small beside the weights."""
    norms = evidence.norms
    if norms is None:
        return
    ratios = norms.ratios[:, matrices(norms)]
    ratios = ratios[np.isfinite(ratios)]
    if not ratios.size:
        return
    middle, (low, high) = float(np.median(ratios)), HEALTHY_RATIO
    if middle > high:
        yield Advice(
            "warning",
            f"A typical step changed the weights by {middle:.1e} of their size, more than "
            f"{high:g}: the learning rate is probably too high. Around 1e-3 is usual.",
        )
    elif middle < low:
        yield Advice(
            "warning",
            f"A typical step changed the weights by {middle:.1e} of their size, less than {low:g}: "
            "the learning rate is probably too low. Around 1e-3 is usual.",
        )


def of_gradients(evidence: Evidence) -> Iterator[Advice]:
    """Gradients vanish towards the first layers, or explode now and then."""
    norms = evidence.norms
    if norms is None:
        return
    weights = matrices(norms)
    sizes = norms.gradients[:, weights] / np.sqrt(norms.sizes[weights])
    first, last = (float(np.median(sizes[:, k])) for k in (0, -1))
    if len(weights) > 2 and 0 <= first < VANISHED * last:
        yield Advice(
            "warning",
            f"Gradients vanish: those of {norms.names[weights[0]]} are {first / last:.0e} of those "
            f"of {norms.names[weights[-1]]}. Try ReLU or GELU, normalisation, Residual, or other "
            "initial weights.",
        )
    whole = np.sqrt((norms.gradients**2).sum(axis=1))
    finite = whole[np.isfinite(whole)]
    if finite.size and finite.max() > EXPLODED * max(float(np.median(finite)), 1e-300):
        step = norms.steps[int(np.nanargmax(whole))]
        yield Advice(
            "warning",
            f"The gradient exploded at step {step:,}: {finite.max():.3g}, where "
            f"{np.median(finite):.3g} is usual. Try trainer.clip_norm, a warm-up or a lower rate.",
        )


def of_activity(evidence: Evidence) -> Iterator[Advice]:
    """Units that are always 0, or always at the end of their range."""
    for a in evidence.activity:
        if a.dead is not None and a.dead >= DEAD * a.units:
            yield Advice(
                "warning",
                f"{a.dead} of the {a.units} units of {a.path} ({a.layer}) are dead: 0 for every "
                "row looked at. Try a lower learning rate, LeakyReLU or GELU, or fewer units.",
            )
        if a.saturated is not None and a.saturated >= SATURATED:
            yield Advice(
                "warning",
                f"{a.saturated:.0%} of the outputs of {a.path} ({a.layer}) are at the ends of "
                "their range, where gradients are nearly 0. Try smaller initial weights, "
                "normalisation, or data.standardize.",
            )


def of_balance(evidence: Evidence) -> Iterator[Advice]:
    """Classes of very different size, classes that are rarely found."""
    found = predicted(evidence)
    if found is None or found.several or evidence.meta.task != "classification":
        return
    counts = np.bincount(evidence.train_target.astype(int), minlength=len(found.names))
    if counts.min() * IMBALANCE < counts.max() and evidence.config.trainer.class_weight is None:
        rare, frequent = int(counts.argmin()), int(counts.argmax())
        yield Advice(
            "note",
            f"Imbalanced classes: {counts[frequent]:,} training rows of {found.names[frequent]}, "
            f"{counts[rare]:,} of {found.names[rare]}. Look at more than accuracy; try "
            "trainer.class_weight: balanced.",
        )
    poor = [(found.names[k], r) for k, r in enumerate(recalls(found)) if r < POOR_RECALL]
    if poor:
        names = ", ".join(f"{name} ({recall:.0%})" for name, recall in poor[:5])
        yield Advice("warning", f"Classes that are found less than half of the time: {names}.")


def of_calibration(evidence: Evidence) -> Iterator[Advice]:
    """The model is too sure, or not sure enough."""
    found = predicted(evidence)
    if found is None:
        return
    confidence, right, rows = calibration(found)
    error = float(np.sum(np.abs(confidence - right) * rows) / max(1, rows.sum()))
    if error > MISCALIBRATED:
        distance = np.abs(confidence - 0.5) if len(found.names) == 2 else confidence
        truth = np.abs(right - 0.5) if len(found.names) == 2 else right
        sure = float(np.sum((distance - truth) * rows))
        which = "too sure of itself" if sure > 0 else "less sure than it could be"
        remedy = "label_smoothing, dropout or fewer epochs" if sure > 0 else LESS
        yield Advice(
            "note",
            f"The model is {which}: its probabilities are off by {error:.3f} on average. If you "
            f"use them as such, try {remedy}.",
        )


def of_baseline(evidence: Evidence) -> Iterator[Advice]:
    """The baseline does as well."""
    from nnad.metrics import is_score
    from nnad.training.registry import entries

    own = evidence.summary.get("test") or {}
    baseline = evidence.summary.get("baseline") or {}
    for metric in evidence.config.metrics:
        ours, theirs = own.get(metric.name), (baseline.get("test") or {}).get(metric.name)
        if ours is None or theirs is None:
            continue
        higher = is_score(entries("metric")[metric.name].make)
        if (theirs > ours) if higher else (theirs < ours):
            yield Advice(
                "warning",
                f"{baseline['estimator']} does better on the test part: {metric.name} "
                f"{theirs:.4g}, the network {ours:.4g}.",
            )


def of_bias(evidence: Evidence) -> Iterator[Advice]:
    """Predicted numbers that are off on average."""
    found = predicted_numbers(evidence)
    if found is None or evidence.meta.task != "regression":
        return
    if evidence.config.loss.name in AROUND_MEDIAN:
        return
    residual = found[0] - found[1]
    for k, name in enumerate(evidence.meta.target_names[: residual.shape[1]]):
        mean, deviation = float(residual[:, k].mean()), float(residual[:, k].std())
        if deviation and abs(mean) > BIASED * deviation and len(residual) >= 100:
            yield Advice(
                "note",
                f"Predictions of {name or 'the target'} are {'high' if mean > 0 else 'low'} by "
                f"{abs(mean):.4g} on average ({abs(mean) / deviation:.0%} of the residuals' "
                "deviation).",
            )


RULES: tuple[Callable[[Evidence], Iterator[Advice]], ...] = (
    of_overfitting,
    of_length,
    of_progress,
    of_rate,
    of_gradients,
    of_activity,
    of_balance,
    of_calibration,
    of_baseline,
    of_bias,
)
