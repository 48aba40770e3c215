"""Sharing the model of a run: what the command ``nnad export`` does."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from nnad.serialization import save
from nnad.sharing.model_card import model_card
from nnad.sharing.onnx_export import export_onnx
from nnad.sharing.standalone import export_standalone
from nnad.training.forgery import load_meta, read_environment, read_summary
from nnad.training.inference import best_model, open_run

__all__ = ["SharedRun"]

ARRAYS = ("fill", "center", "scale", "target_center", "target_scale")
PLANNED = (
    "numeric_names", "categorical_names", "categories", "encoding", "fill_categorical",
    "smooth_clip", "row_shape", "dtype",
)  # fmt: skip

TAIL = """
PLAN = json.loads({plan!r})
LEARNED = {{key[5:]: value for key, value in WEIGHTS.items() if key.startswith("rows.")}}

if __name__ == "__main__":
    sys.exit(main(predict, PLAN, LEARNED))
"""


class SharedRun:
    """The best weights of a run, ready to be written in other forms.

    Args:
        path: the run's folder.

    Raises:
        UserError: there is no such run, or it has no usable checkpoint.
    """

    def __init__(self, path: str) -> None:
        self.folder, self.config = open_run(path)
        self.meta = load_meta(self.folder)
        self.model = best_model(self.config, self.meta, self.folder)

    @property
    def example(self) -> np.ndarray:
        """A batch of one row that the model takes: zeros, or codes and tokens of number 0."""
        tokens = {"tokens", "tokenizer"} & self.meta.extras.keys()
        dtype = np.int64 if tokens else self.config.trainer.dtype
        return np.zeros((1, *self.meta.input_shape), dtype)

    @property
    def metadata(self) -> dict[str, str]:
        """What a user of the model must know beside its weights, as texts."""
        known = {
            "task": self.meta.task,
            "loss": self.config.loss.name,
            "class_names": self.meta.class_names,
            "feature_names": self.meta.feature_names,
            "target_names": self.meta.target_names,
        }
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in known.items() if v}

    def to_onnx(self, path: str) -> None:
        """Write an ONNX file; it takes prepared inputs and returns what the model returns."""
        export_onnx(path, self.model, self.example, self.metadata)

    def to_safetensors(self, path: str) -> None:
        """Write the weights by their names."""
        save(path, self.model)

    def to_standalone(self, path: str) -> None:
        """Write a predictor; of a table's model one that reads CSV files too."""
        about = "\n".join(f"{key}: {value}" for key, value in self.metadata.items())
        if not self.reads_tables:
            export_standalone(path, self.model, self.example, about)
            return
        export_standalone(
            path,
            self.model,
            self.example,
            about,
            tail=TAIL.format(plan=json.dumps(self.plan)),
            functions=["nnad.sharing.rows:main"],
            arrays={f"rows.{k}": v for k, v in self.learned.items()},
        )

    def card(self) -> str:
        """The model card in Markdown."""
        return model_card(
            self.config,
            self.meta,
            self.model,
            read_summary(self.folder.summary),
            read_environment(self.folder.environment),
            self.example,
        )

    @property
    def reads_tables(self) -> bool:
        """Whether inputs are rows of a table, whose columns a predictor can find by name."""
        preprocessor = self.meta.preprocessor
        named = preprocessor.numeric_names or preprocessor.categorical_names
        return bool(named) and len(preprocessor.raw_shape) == 1 and not self.meta.extras

    @property
    def plan(self) -> dict[str, Any]:
        """What `nnad.sharing.rows` needs to know, as JSON values."""
        preprocessor = vars(self.meta.preprocessor)
        return {
            **{name: preprocessor[name] for name in PLANNED},
            "task": self.meta.task,
            "class_names": self.meta.class_names,
            "target_names": self.meta.target_names,
            "loss": self.config.loss.name,
        }

    @property
    def learned(self) -> dict[str, np.ndarray]:
        """The arrays that `nnad.sharing.rows` needs."""
        preprocessor = vars(self.meta.preprocessor)
        return {k: preprocessor[k] for k in ARRAYS if preprocessor[k] is not None}
