"""Reports: every figure is there, the numbers in them are right, and advice comes when due."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from nnad.cli import main
from nnad.training.reporting import advice, classes, evidence
from nnad.training.watch import Norms

INSIDE = ["Weights by step", "Gradients by step", "Update ratio by step"]
CURVES = ["ROC curve", "Precision and recall", "Calibration"]
NUMBERS = ["Predicted and true", "Residuals", "Distribution of residuals"]
FIGURES = {
    "binary": ["Learning curve: loss", "Learning curve: accuracy", "Learning curve: roc_auc",
               "Learning rate", "Confusion matrix", *CURVES, *INSIDE],
    "classes": ["Learning curve: loss", "Learning curve: accuracy", "Learning rate",
                "Confusion matrix", *CURVES, *INSIDE],
    "numbers": ["Learning curve: loss", "Learning curve: r2", "Learning rate", *NUMBERS, *INSIDE],
    "quantiles": ["Learning curve: loss", "Learning rate", *NUMBERS, "Calibration", *INSIDE],
    "odd": ["Learning curve: loss", "Learning rate", "Confusion matrix", *CURVES, *INSIDE],
    "labels": ["Learning curve: loss", "Learning rate", *CURVES, *INSIDE],
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_there(runs, name) -> None:
    text = (runs / name / "report.html").read_text()
    assert re.findall(r'data-figure="([^"]*)"', text) == FIGURES[name]
    assert "Worst predictions" in text
    assert not re.search("<a>|<i>|<b>&", text)  # names of columns and classes are no markup
    assert "nan" not in re.findall(r'(?:d|cx|cy|x|y|width|height)="([^"]*)"', text)
    assert not re.search(r"""(?:src|href)=|url\(|@import""", text)


def test_a_report_can_be_made_later(runs, tmp_path, capsys) -> None:
    file = tmp_path / "page.html"
    assert main(["report", str(runs / "binary"), "--output", str(file)]) == 0
    assert capsys.readouterr().out == f"written to {file}\n"
    assert file.read_text() == (runs / "binary" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such run"),
        (["{runs}/binary", "--output", "no/such/x.html"], "no/such/"),
    ],
)
def test_problems_are_told_in_a_line(runs, arguments, message, capsys) -> None:
    assert main(["report", *(a.format(runs=runs) for a in arguments)]) == 2
    assert message in capsys.readouterr().err


def test_curves_are_those_of_scikit_learn(rng) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    truth = rng.integers(0, 2, 300)
    score = np.round(truth * 0.3 + rng.random(300), 1)  # with many ties
    hits, alarms = classes.operating_points(score, truth)
    false_rate, true_rate, _ = metrics.roc_curve(truth, score, drop_intermediate=False)
    np.testing.assert_allclose(alarms / alarms[-1], false_rate)
    np.testing.assert_allclose(hits / hits[-1], true_rate)
    p = np.stack([1.3 - score, score], axis=1) / 1.3
    found = classes.Predicted(["a", "b"], p, np.eye(2, dtype=int)[truth], False)
    assert found.auc(1) == pytest.approx(metrics.roc_auc_score(truth, score))
    average = metrics.average_precision_score(truth, score)
    assert f"AP {average:.3f}" in classes.precision_recall_figure(found)
    counts = metrics.confusion_matrix(truth, p.argmax(axis=1))
    shown = re.findall(r"true class (\w), predicted class (\w): (\d+)",
                       classes.confusion_figure(found, "test"))  # fmt: skip
    assert [int(n) for *_, n in shown] == counts.reshape(-1).tolist()


def test_a_class_that_is_not_there_has_no_curve() -> None:
    p = np.array([[0.2, 0.8], [0.7, 0.3]])
    alone = classes.Predicted(["a", "b"], p, np.array([[1, 0], [1, 0]]), False)
    both = classes.Predicted(["a", "b"], p, np.array([[0, 1], [1, 0]]), False)
    assert (alone.curves, both.curves) == ([], [1])


# Advice ---------------------------------------------------------------------------------------


def settings(**changes) -> SimpleNamespace:
    """A job, as far as advice asks for it."""
    plain = {
        "model": ["Linear"],
        "optimizer": SimpleNamespace(arguments={}),
        "schedule": SimpleNamespace(name="constant"),
        "trainer": SimpleNamespace(class_weight=None, early_stopping=None),
        "metrics": [SimpleNamespace(name="accuracy")],
        "loss": SimpleNamespace(name="cross_entropy", arguments={}),
    }
    return SimpleNamespace(**{**plain, **changes})


def case(**changes) -> evidence.Evidence:
    """A run about which there is nothing to say, but for `changes`."""
    steps = np.arange(1, 11)
    plain = evidence.Evidence(
        name="run",
        config=settings(),
        config_text="",
        environment={},
        summary={},
        history={"epoch": range(10), "train_loss": 1 / steps, "val_loss": 1.1 / np.sqrt(steps)},
        norms=norms(),
        meta=SimpleNamespace(task="none", class_names=["a", "b"], target_names=["y"]),
        part="test",
        split=SimpleNamespace(y=np.arange(200) % 2),
        outputs=np.zeros((200, 2)),
        train_target=np.arange(200) % 2,
        activity=[],
    )
    plain.history["val_loss"][-3:] = 0.4
    return replace(plain, **changes)


def norms(ratio=1e-3, gradients=((1.0, 1.0, 1.0),) * 10) -> Norms:
    ones = np.ones((10, 3))
    return Norms(["0.w", "1.w", "2.w"], np.ones(3, int), np.full(3, 2), np.arange(1, 11), ones,
                 np.array(gradients, float), ones * ratio)  # fmt: skip


def activity(**values) -> evidence.Activity:
    plain = {"mean": 0.0, "std": 1.0, "units": 8, "dead": None, "saturated": None}
    return evidence.Activity("1", "ReLU", **{**plain, **values})


def spiked() -> np.ndarray:
    gradients = np.ones((10, 3))
    gradients[4] = 1e4
    return gradients


CLASSES = SimpleNamespace(task="classification", class_names=["a", "b"], target_names=[])
STEPS = np.arange(1, 11)
SURE = np.eye(2)[np.arange(200) % 2] * 60 - 30.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"history": {"train_loss": 1 / STEPS, "val_loss": abs(STEPS - 4) / 9 + 0.2}},
         "Overfitting since epoch 4"),
        ({"history": {"train_loss": 1 / STEPS}}, "still falling at the end"),
        ({"history": {"train_loss": np.full(10, 2.0)}}, "hardly fell"),
        ({"history": {"train_loss": 1 / STEPS + STEPS % 2 * 0.4}}, "rose in 4"),
        ({"norms": norms(ratio=0.5)}, "rate is probably too high"),
        ({"norms": norms(ratio=1e-6)}, "rate is probably too low"),
        ({"norms": norms(gradients=((1e-6, 1e-2, 1.0),) * 10)}, "Gradients vanish"),
        ({"norms": norms(gradients=spiked())}, "exploded at step 5"),
        ({"activity": [activity(dead=4)]}, "4 of the 8 units of 1 (ReLU) are dead"),
        ({"activity": [activity(saturated=0.9)]}, "90% of the outputs"),
        ({"meta": CLASSES, "outputs": SURE, "train_target": np.arange(200) // 190},
         "Imbalanced classes: 190 training rows of a, 10 of b"),
        ({"meta": CLASSES, "outputs": np.array([[9.0, 0.0]] * 200)},
         "less than half of the time: b"),
        ({"meta": CLASSES, "outputs": SURE / 60}, "less sure than it could be"),
        ({"meta": CLASSES, "outputs": SURE[np.arange(200) // 3]}, "too sure of itself"),
        ({"summary": {"test": {"accuracy": 0.8},
                      "baseline": {"estimator": "SVC", "test": {"accuracy": 0.9}}}},
         "SVC does better on the test part: accuracy 0.9"),
    ],
)  # fmt: skip
def test_advice_comes_when_due(changes, said) -> None:
    found = advice.advise(case(**changes))
    assert any(said in a.text for a in found), found


OVERFITTED = {"train_loss": 1 / STEPS, "val_loss": abs(STEPS - 4) / 9 + 0.2}
RESTLESS = {"train_loss": 1 / STEPS + STEPS % 2 * 0.4}
STOPS = SimpleNamespace(class_weight=None, early_stopping=SimpleNamespace())
DECAYS = SimpleNamespace(arguments={"weight_decay": 0.1})


@pytest.mark.parametrize(
    ("history", "changes", "tried"),
    [
        (OVERFITTED, {}, "Try early_stopping, dropout, weight decay, a smaller"),
        (OVERFITTED, {"trainer": STOPS}, "Try dropout, weight decay, a smaller"),
        (OVERFITTED, {"trainer": STOPS, "model": [{"Dropout": {"p": 0.1}}], "optimizer": DECAYS},
         "Try more dropout, more weight decay, a smaller"),
        (RESTLESS, {}, "try a lower one, a schedule such as cosine, or larger"),
        (RESTLESS, {"schedule": SimpleNamespace(name="cosine")}, "try a lower one, or larger"),
    ],
)  # fmt: skip
def test_what_a_job_does_already_is_not_advised(history, changes, tried) -> None:
    found = advice.advise(case(history=history, config=settings(**changes)))
    assert any(tried in a.text for a in found), found


def test_no_advice_where_all_is_well() -> None:
    assert [a.text for a in advice.advise(case())] == ["Nothing alarming stands out."]
    well = case(meta=CLASSES, outputs=SURE)
    assert [a.kind for a in advice.advise(well)] == ["good"]


# The history of norms ---------------------------------------------------------------------------


def test_the_history_of_norms_goes_on_exactly_after_a_stop(runs, tmp_path) -> None:
    from nnad.training import checkpoint, job
    from nnad.training.callbacks import Interrupted, Interruption

    class Stop(Interruption):
        def on_step_end(self, trainer) -> None:
            if trainer.step == 13:
                raise Interrupted(2)

    config, place = str(runs.parent / "classes.yaml"), f"output.dir={tmp_path}"
    with pytest.raises(Interrupted):
        job.start(config, [place], False, Stop())
    job.resume(str(tmp_path / "classes"), [], Interruption())
    last = "checkpoints/last.safetensors"
    assert (tmp_path / "classes" / last).read_bytes() == (runs / "classes" / last).read_bytes()
    seen = checkpoint.load(runs / "classes" / last)["callbacks"]["Watch"]
    assert seen["steps"].tolist() == list(range(1, len(seen["steps"]) + 1))


def test_norms_are_those_of_the_parameters_and_few_are_kept(rng) -> None:
    import nnad
    from nnad.training.watch import MOST_RECORDS, Watch

    model = nnad.layers.Linear(3, 2, rng=0)
    trainer = SimpleNamespace(model=model, step=0)
    watch = Watch(model)
    watch.on_fit_begin(trainer)
    kept = {}
    for step in range(1, 601):
        trainer.step = step
        for p in model.parameters():
            p.leaf.grad = rng.normal(size=p.shape).astype(p.dtype)
            p.data -= 0.01 * p.leaf.grad
        kept[step] = [(np.linalg.norm(p.data), np.linalg.norm(p.leaf.grad)) for p in
                      model.parameters()]  # fmt: skip
        watch.on_step_end(trainer)
    found = Watch.norms(watch.state_dict())
    assert len(found.steps) < MOST_RECORDS and found.steps[-1] > 590
    want = np.array([kept[step] for step in found.steps])
    np.testing.assert_allclose(found.weights, want[..., 0], rtol=1e-5)
    np.testing.assert_allclose(found.gradients, want[..., 1], rtol=1e-5)
    np.testing.assert_allclose(found.updates, 0.01 * want[..., 1], rtol=1e-4)


def test_a_notebook_shows_the_history_as_curves() -> None:
    from nnad.training.history import History

    history = History(epoch=[1.0, 2.0], train_loss=[0.5, 0.25], val_loss=[0.6, np.nan])
    text = history._repr_html_()
    assert re.findall(r'data-figure="([^"]*)"', text) == ["loss"]
    assert text.count('<path class="line') == 4  # two curves, two in the legend
    assert History()._repr_html_().count("<figure") == 0
