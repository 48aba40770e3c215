"""``nnad export``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnad.cli.parser import Parser, new_file
from nnad.cli.running import say


def export(arguments: Sequence[str], prog: str = "nnad export") -> int:
    """Write a run's best model as ONNX, as a predictor of its own, weights or a card."""
    parser = Parser(
        prog,
        description=export.__doc__,
        examples=[
            "nnad export runs/mlp --onnx mlp.onnx --card MODEL.md",
            "nnad export runs/tabular --standalone predictor.py",
            "python predictor.py rows.csv > predictions.csv     (needs NumPy only)",
        ],
    )
    parser.add_argument("run", help="the run's folder, such as runs/mlp")
    parser.add_argument(
        "--onnx", type=new_file, metavar="FILE", help="for onnxruntime and others; any batch size"
    )
    parser.add_argument(
        "--standalone",
        type=new_file,
        metavar="FILE.py",
        help="one Python file and one of weights, NumPy alone",
    )
    parser.add_argument(
        "--safetensors", type=new_file, metavar="FILE", help="the weights by their names"
    )
    parser.add_argument("--card", type=new_file, metavar="FILE.md", help="a model card in Markdown")
    options = parser.parse_args(arguments)
    forms = {
        "onnx": "to_onnx", "standalone": "to_standalone", "safetensors": "to_safetensors",
    }  # fmt: skip
    wanted = {form: getattr(options, form) for form in (*forms, "card") if getattr(options, form)}
    if not wanted:
        parser.error("say what to write: --onnx, --standalone, --safetensors or --card")

    from nnad.sharing.runs import SharedRun
    from nnad.training.run_folder import writing

    run = SharedRun(options.run)
    for form, path in wanted.items():
        if form == "card":
            with writing(Path(path)) as file:
                file.write(run.card())
        else:
            getattr(run, forms[form])(path)
        say(f"{form}: written to {path}")
    return 0
