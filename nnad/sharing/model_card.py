"""A model card: what a model is, what it was trained on and how well it does, in Markdown.

The headings follow Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnad.data.dataset import Meta
from nnad.layers import summary
from nnad.training.config import Config, to_yaml
from nnad.training.report import number

__all__ = ["model_card"]


def model_card(
    config: Config,
    meta: Meta,
    model: Any,
    results: Mapping[str, Any],
    environment: Mapping[str, Any],
    example: Any,
) -> str:
    """The card of a run's best weights.

    Args:
        config: the run's configuration.
        meta: what is known about its data.
        model: the network with those weights.
        results: as in ``summary.json``.
        environment: as in ``environment.json``.
        example: a batch of inputs, to tell the shapes of the layers.
    """
    sections = {
        "Model": f"```text\n{summary(model, example)}\n```",
        "Data": _data(config, meta),
        "Results": _results(results),
        "Intended use and limits": (
            f"Predicts {_what(meta)} from rows like those it was trained on. The figures above "
            "hold for rows drawn like the test part; nothing was tried beyond them. State here for "
            "whom and for what it is meant, and where it must not be used."
        ),
        "Configuration": f"```yaml\n{to_yaml(config)}```",
        "Versions": "\n".join(
            f"- {name}: {value}" for name, value in environment.items() if name != "threads"
        ),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"# {config.output.name}\n\n{body}\n"


def _what(meta: Meta) -> str:
    if meta.class_names:
        kind = "labels" if meta.task == "multi_label" else "one of the classes"
        return f"{kind} {', '.join(meta.class_names)}"
    return ", ".join(meta.target_names) or meta.task.replace("_", " ")


def _data(config: Config, meta: Meta) -> str:
    lines = [
        f"- source: {config.data.name}",
        f"- task: {meta.task.replace('_', ' ')}",
        f"- input of a row: {tuple(meta.input_shape)}",
        *([f"- features: {', '.join(meta.feature_names)}"] if meta.feature_names else []),
        *(f"- file {name}: {digest}" for name, digest in meta.fingerprint.items()),
    ]
    return "\n".join(lines)


def _results(results: Mapping[str, Any]) -> str:
    columns: dict[str, Mapping[str, Any]] = {"this model": results}
    if results.get("baseline"):
        columns[results["baseline"]["estimator"]] = results["baseline"]
    part = "test" if results.get("test") else "validation"
    rows = [
        f"| {name} | "
        + " | ".join(number(c.get(part, {}).get(name)) for c in columns.values())
        + " |"
        for name in results.get(part, {})
    ]
    head = [f"| {part} | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    told = (
        f"{results.get('parameters', 0):,} parameters, trained in {results.get('epochs', 0)} epochs"
    )
    return "\n".join([told, "", *head, *rows]) if rows else told
