"""Schedules against PyTorch's schedulers, closed forms, and each other."""

from __future__ import annotations

import importlib.util
import inspect
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnad import schedules
from nnad.schedules import Plateau, Schedule

STEPS = 25

if importlib.util.find_spec("torch"):
    import torch
    import torch._dynamo  # here, because it changes os.environ, which a test may not
    from torch.optim import lr_scheduler
else:
    torch = None


def one_cycle(optimizer: Any, **kwargs: Any) -> Any:
    return lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, cycle_momentum=False, **kwargs)


def sequence(optimizer: Any) -> Any:
    parts = [
        lr_scheduler.LinearLR(optimizer, total_iters=5),
        lr_scheduler.ExponentialLR(optimizer, 0.9),
    ]
    return lr_scheduler.SequentialLR(optimizer, parts, [5])


def warm_up(steps: int) -> Callable[[int], float]:
    return lambda step: min(1.0, (step + 1) / (steps + 1))


def warmed_cosine(step: int) -> float:
    if step < 5:
        return (step + 1) / 6
    return 0.1 + 0.9 * (1 + math.cos(math.pi * min(step - 5, 15) / 15)) / 2


# (schedule, what makes PyTorch's scheduler of a rate of 1, or a function of the step)
CASES: dict[str, list[tuple[Schedule, Any]]] = {
    "Constant": [
        (schedules.Constant(), lambda step: 1.0),
        (schedules.Constant(0.3), lambda _: 0.3),
    ],
    "Step": [
        (schedules.Step(4), lambda o: lr_scheduler.StepLR(o, 4)),
        (schedules.Step(step_size=3, gamma=0.5), lambda o: lr_scheduler.StepLR(o, 3, gamma=0.5)),
    ],
    "MultiStep": [
        (
            schedules.MultiStep([3, 4, 10], 0.5),
            lambda o: lr_scheduler.MultiStepLR(o, [3, 4, 10], 0.5),
        )
    ],
    "Exponential": [(schedules.Exponential(0.9), lambda o: lr_scheduler.ExponentialLR(o, 0.9))],
    "Linear": [
        (schedules.Linear(10), lambda o: lr_scheduler.LinearLR(o, total_iters=10)),
        (schedules.Linear(7, 1.0, 0.2), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, 7)),
    ],
    "LinearWarmup": [(schedules.LinearWarmup(4), warm_up(4))],
    "Polynomial": [
        (schedules.Polynomial(20), lambda o: lr_scheduler.PolynomialLR(o, 20)),
        (schedules.Polynomial(20, power=2.5), lambda o: lr_scheduler.PolynomialLR(o, 20, 2.5)),
    ],
    "Cosine": [
        (schedules.Cosine(25), lambda o: lr_scheduler.CosineAnnealingLR(o, 25)),
        (schedules.Cosine(25, 0.2), lambda o: lr_scheduler.CosineAnnealingLR(o, 25, 0.2)),
        (schedules.Cosine(20, min_factor=0.1, warmup_steps=5), warmed_cosine),
    ],
    "CosineCycles": [
        (schedules.CosineCycles(15), lambda s: math.sin(math.pi * math.log2(min(s, 15) + 1)) ** 2)
    ],
    "CosineRestarts": [
        (
            schedules.CosineRestarts(4, 2, 0.1),
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4, 2, 0.1),
        ),
        (schedules.CosineRestarts(6), lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 6)),
    ],
    "OneCycle": [
        (schedules.OneCycle(25), lambda o: one_cycle(o, total_steps=25)),
        (
            schedules.OneCycle(25, 0.4, "linear", 10.0, 100.0),
            lambda o: one_cycle(
                o,
                total_steps=25,
                pct_start=0.4,
                anneal_strategy="linear",
                div_factor=10.0,
                final_div_factor=100.0,
            ),
        ),
        (
            schedules.OneCycle(25, three_phase=True),
            lambda o: one_cycle(o, total_steps=25, three_phase=True),
        ),
    ],
    "InverseSqrt": [
        (schedules.InverseSqrt(4), lambda s: (s + 1) / 5 if s < 4 else math.sqrt(4 / s))
    ],
    "WarmupStableDecay": [
        (
            schedules.WarmupStableDecay(20, 4, 8, 0.1),
            lambda s: min((s + 1) / 5, 1.0, max(0.1, 1 - 0.9 * (s - 12) / 8)),
        ),
        (
            schedules.WarmupStableDecay(20, 0, 8, decay="cos"),
            lambda s: 1.0 if s < 12 else (1 + math.cos(math.pi * min(s - 12, 8) / 8)) / 2,
        ),
    ],
    "Sequence": [
        (schedules.Sequence([schedules.Linear(5), schedules.Exponential(0.9)], [5]), sequence)
    ],
    "Plateau": [(Plateau(), lambda step: 1.0)],
}


def exported() -> dict[str, type[Schedule]]:
    return {
        name: item
        for name, item in vars(schedules).items()
        if inspect.isclass(item) and issubclass(item, Schedule) and item is not Schedule
    }


def test_every_schedule_has_cases() -> None:
    assert exported().keys() == CASES.keys()
    assert set(schedules.__all__) == exported().keys() | {"Schedule"}


@pytest.mark.parametrize(
    ("schedule", "reference"),
    [pytest.param(*case, id=str(case[0])) for cases in CASES.values() for case in cases],
)
def test_factor_by_step(schedule: Schedule, reference: Any) -> None:
    parameter = next(iter(inspect.signature(reference).parameters))
    if parameter in ("o", "optimizer"):
        if torch is None:
            pytest.skip("PyTorch is not installed")
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        scheduler = reference(optimizer)
        expected = []
        for _ in range(STEPS):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    else:
        expected = [reference(step) for step in range(STEPS)]
    got = [schedule(step) for step in range(STEPS)]
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    assert all(isinstance(factor, float) for factor in got)


@pytest.mark.parametrize("schedule", [cases[0][0] for cases in CASES.values()], ids=str)
def test_values_stay_after_the_end_and_in_pickles(schedule: Schedule) -> None:
    assert math.isfinite(schedule(10**6))
    assert pickle.loads(pickle.dumps(schedule))(7) == schedule(7)
    schedule.load_state_dict(schedule.state_dict())
    with pytest.raises(ValueError, match="another schedule"):
        schedule.load_state_dict({"nonsense": 1})


def test_cosine_stays_low_after_its_end() -> None:
    schedule = schedules.Cosine(10, min_factor=0.25)
    assert [schedule(step) for step in (10, 11, 15, 20)] == [0.25] * 4


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"factor": 0.5, "patience": 2, "cooldown": 3},
        {"mode": "max", "patience": 1, "threshold": 0.05},
        {"mode": "max", "patience": 1, "threshold_mode": "abs", "threshold": 0.2},
        {"patience": 0, "threshold_mode": "abs", "threshold": 0.2, "min_factor": 0.02},
        {"patience": 0, "eps": 0.02},
    ],
)
def test_plateau(arguments: dict[str, Any], rng: np.random.Generator) -> None:
    if torch is None:
        pytest.skip("PyTorch is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    names = {"min_factor": "min_lr"}
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer, **{names.get(k, k): v for k, v in arguments.items()}
    )
    ours = Plateau(**arguments)
    for value in 1.0 + rng.normal(size=60).cumsum() / 10:
        theirs.step(value)
        assert ours.update(value) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        resumed = Plateau(**arguments)
        resumed.load_state_dict(ours.state_dict())
        ours = resumed
    assert ours(0) == ours(1000) < 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.Step(0), "step_size of at least 1"),
        (lambda: schedules.MultiStep([4, 2]), "increasing milestones"),
        (lambda: schedules.Linear(0), "total_steps of at least 1"),
        (lambda: schedules.LinearWarmup(-1), "warmup_steps of at least 0"),
        (lambda: schedules.Polynomial(0), "total_steps of at least 1"),
        (lambda: schedules.Cosine(5, warmup_steps=5), "warmup_steps < total_steps"),
        (lambda: schedules.CosineRestarts(0), "first_period"),
        (lambda: schedules.OneCycle(10, pct_start=2.0), "pct_start from 0 to 1"),
        (lambda: schedules.OneCycle(10, anneal_strategy="step"), "'cos' or 'linear'"),  # type: ignore[arg-type]
        (lambda: schedules.InverseSqrt(0), "warmup_steps of at least 1"),
        (lambda: schedules.WarmupStableDecay(10, 6, 6), "together at most total_steps"),
        (lambda: schedules.Sequence([schedules.Constant()], [3]), "one milestone less"),
        (lambda: Plateau(factor=1.0), "factor between 0 and 1"),
        (lambda: Plateau(mode="up"), "mode of 'min' or 'max'"),  # type: ignore[arg-type]
    ],
)
def test_impossible_arguments(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
