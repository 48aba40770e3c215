"""What a trainer returns: a row of numbers an epoch, which a notebook shows as curves."""

from __future__ import annotations

from collections.abc import Iterable

from nnad.charts import Line, figure, legend, line_chart, style

__all__ = ["History", "column_groups"]

NOT_SCORES = ("epoch", "step", "learning_rate")


class History(dict[str, list[float]]):
    """Columns by name, as in ``metrics.csv``: ``epoch``, ``train_loss``, ``val_loss``, ..."""

    def _repr_html_(self) -> str:
        epochs = self.get("epoch", [])
        figures = "".join(
            figure(
                title,
                line_chart(
                    title,
                    [Line(name, epochs, self[name]) for name in names],
                    x_label="epoch",
                ),
                legend(names),
            )
            for title, names in column_groups(self).items()
        )
        layout = "display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,440px));gap:12px"
        return (
            f'<div class="nnad-charts"><style>{style()}</style>'
            f'<div style="{layout}">{figures}</div></div>'
        )


def column_groups(history: Iterable[str]) -> dict[str, list[str]]:
    """The columns that belong into one chart, by the chart's title.

    >>> column_groups(["epoch", "train_loss", "val_loss", "val_accuracy"])
    {'loss': ['train_loss', 'val_loss'], 'accuracy': ['val_accuracy']}
    """
    groups: dict[str, list[str]] = {}
    for name in history:
        if name not in NOT_SCORES:
            groups.setdefault(name.partition("_")[2], []).append(name)
    return groups
