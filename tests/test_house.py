"""The house rules: who may import whom, what is public, what an import costs, what README says."""

import ast
import importlib
import inspect
import io
import itertools
import os
import pkgutil
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import nnad

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "nnad"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = sorted(PACKAGE.rglob("*.py"))

# From the ground floor up. A room imports from its own floor and those below, never from above.
FLOORS = [
    ["charts", "cores", "errors", "files", "memory", "random", "typechecks"],
    ["autodiff"],
    ["ops"],
    ["array_api"],
    ["distributed"],
    ["compiler"],
    ["initializers", "layers", "losses", "metrics", "optimizers", "schedules", "serialization"],
    ["data"],
    ["training"],
    ["estimators", "sharing"],
    ["__init__"],
    ["cli", "__main__"],
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# What may look upwards, and why: (file, room) -> reason.
UPWARD = {
    ("training/job.py", "__init__"): "the version of nnad goes into environment.json",
    ("sharing/standalone.py", "__init__"): "the version of nnad goes into the file",
}

# Files of nnad/autodiff beside the engine itself: what it knows (the table), which NumPy function
# leads to which entry, how containers are taken apart, how many seeds go through one walk, what
# checks it.
NOT_ENGINE = {"table.py", "protocols.py", "trees.py", "batching.py", "checking.py"}
ENGINE_LINES = 800  # of code: blank lines, comments and docstrings are not counted

# Import name -> distribution, where they differ.
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "mlflow": "mlflow-skinny",
}
COMES_WITH = {
    "scipy": "scikit-learn",
    "threadpoolctl": "scikit-learn",
    "pydantic_core": "pydantic",
}

HEAVY = {"sklearn", "scipy", "yaml", "numba", "pydantic", "tqdm", "mpi4py", "safetensors", "pandas"}
IMPORT_SECONDS = 0.1


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of everything a file imports, inside functions too."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*up, *filter(None, [node.module])])
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def room_of(dotted: str) -> str:
    """The room that an import reaches: nnad.ops.basic.exp -> ops; nnad itself -> __init__."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOOR_OF else "__init__"


def upward_imports(path: Path) -> list[str]:
    """Imports of a file that reach a room above its own."""
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return [
        f"{path.relative_to(ROOT)}:{line}: {own} may not import {name}"
        for name, line in imports_of(path)
        if name.split(".")[0] == "nnad"
        and FLOOR_OF[room_of(name)] > FLOOR_OF[own]
        and (str(path.relative_to(PACKAGE)), room_of(name)) not in UPWARD
    ]


def test_every_file_belongs_to_a_room() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert rooms <= FLOOR_OF.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_from_rooms_below(path: Path) -> None:
    assert upward_imports(path) == []


def test_an_upward_import_is_seen_wherever_it_hides(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "nnad")
    path = tmp_path / "nnad" / "ops" / "bad.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import numpy\nfrom nnad.autodiff.table import linear\nfrom nnad import autodiff\n"
        "from . import basic\nfrom ..layers import Linear\n"
        "def f():\n    import nnad\n    from nnad import losses\n    import nnad.training.trainer\n"
    )
    assert [line.split(": ")[0].rsplit(":", 1)[1] for line in upward_imports(path)] == [
        "5",
        "7",
        "8",
        "9",
    ]


def test_what_is_imported_is_declared() -> None:
    declared = " ".join(
        itertools.chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    )
    names = set(re.findall(r"(?:^|\s)([a-z0-9_-]+)", declared))
    unknown = {
        f"{path.relative_to(ROOT)}: {top}"
        for path in FILES
        for top in {name.split(".")[0] for name, _ in imports_of(path)}
        if top != "nnad" and top not in sys.stdlib_module_names
        if DISTRIBUTIONS.get(top, COMES_WITH.get(top, top)) not in names
    }
    assert unknown == set()


def code_lines(path: Path) -> int:
    """Lines of a file that hold code: neither blank nor comment nor docstring."""
    source = path.read_text(encoding="utf-8")
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (*layout, tokenize.ENDMARKER):
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_the_engine_can_be_read_in_an_evening() -> None:
    lines = {
        path.name: code_lines(path)
        for path in (PACKAGE / "autodiff").glob("*.py")
        if path.name not in NOT_ENGINE
    }
    assert sum(lines.values()) < ENGINE_LINES, lines


def fresh_python(code: str) -> str:
    """What a new interpreter prints for `code`."""
    command = [sys.executable, "-W", "error", "-c", code]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_nnad_loads_numpy_alone() -> None:
    loaded = fresh_python("import nnad, sys; print(*{m.split('.')[0] for m in sys.modules})")
    assert HEAVY.isdisjoint(loaded.split())


def test_importing_nnad_takes_little_longer_than_numpy() -> None:
    code = (
        "import time, numpy; start = time.process_time(); import nnad;"
        "print(time.process_time() - start)"
    )  # time of this process alone, whatever else the machine is doing
    fresh_python(code)  # the first time writes byte code
    seconds = min(float(fresh_python(code)) for _ in range(5))
    assert seconds < IMPORT_SECONDS


def test_public_names_are_listed_by_hand_and_exist() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    listed = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert listed == [nnad.__all__]
    assert len(set(nnad.__all__)) == len(nnad.__all__)
    assert [name for name in nnad.__all__ if not hasattr(nnad, name)] == []


def test_the_version_stands_the_same_in_both_places() -> None:
    assert nnad.__version__ == PROJECT["version"]


def modules() -> list[str]:
    """Every module of nnad, by name."""
    walk = pkgutil.walk_packages(nnad.__path__, "nnad.", onerror=lambda name: None)
    return ["nnad", *(info.name for info in walk if not info.name.endswith("__main__"))]


def undocumented(name: str) -> list[str]:
    """Public classes, functions and methods that a module defines without saying what they are."""
    module = importlib.import_module(name)
    missing = []
    for key, value in vars(module).items():
        if key.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        own = vars(value).items() if inspect.isclass(value) else ()
        members = [f"{key}.{k}" for k, v in own if not k.startswith("_") and inspect.isfunction(v)]
        named = {key: value} | {m: getattr(value, m.split(".")[1]) for m in members}
        missing += [f"{name}.{n}" for n, thing in named.items() if not inspect.getdoc(thing)]
    return missing


@pytest.mark.parametrize("name", modules())
def test_public_names_have_docstrings(name: str) -> None:
    assert undocumented(name) == []


# README, CONTRIBUTING and the check that runs README's lines


def shell_blocks(path: Path) -> list[str]:
    """The contents of a page's fenced shell blocks."""
    return re.findall(r"^```(?:bash|sh|shell|console)\n(.*?)^```$", path.read_text(), re.M | re.S)


def test_ci_runs_the_lines_of_the_readme() -> None:
    first, second = shell_blocks(ROOT / "README.md")[:2]
    lines = subprocess.run(
        [ROOT / ".ci/run", "--lines"], capture_output=True, text=True, check=True
    ).stdout
    assert lines == first + second
    assert (first.count("\n"), second.count("\n")) == (1, 1)


def test_the_readme_lines_need_nothing_but_the_clone() -> None:
    for line in shell_blocks(ROOT / "README.md")[:2]:
        start, *then = line.strip().split(" && ")
        assert start == "python3 -m venv .venv"
        assert all(command.startswith(".venv/bin/") for command in then)


def test_the_readme_shows_the_config_as_it_is() -> None:
    shown = re.search(r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    lines = (ROOT / "configs/mlp.yaml").read_text(encoding="utf-8").splitlines(keepends=True)
    assert shown
    assert shown[1] == "".join(line for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    folders = ("nnad", "configs", "scripts", "tests", "data", "docs", ".ci")
    named = set(re.findall(rf"(?<![\w/])(?:{'|'.join(map(re.escape, folders))})/[\w./-]*\w", text))
    named |= {f"configs/{name}" for name in re.findall(r"`(\w+\.yaml)`", text)}
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


# The guard in conftest.py: a test that leaves something changed must fail.

LEAKS = {
    "np.errstate": "import numpy as np; np.seterr(all='ignore')",
    "np.printoptions": "import numpy as np; np.set_printoptions(precision=3)",
    "np.random's global generator": "import numpy as np; np.random.seed(1)",
    "random's global generator": "import random; random.random()",
    "the current folder": "import os; os.chdir('/')",
    "os.environ": "import os; os.environ['NNAD_LEAK'] = '1'",
    "signal handlers": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "nnad's recording state": "from nnad.autodiff.tensor import state; state.recording = False",
}


def test_a_leaking_test_fails(tmp_path: Path) -> None:
    cases = enumerate(LEAKS.values())
    source = "".join(f"def test_{i}():\n    {body}\n" for i, body in cases)
    (tmp_path / "test_leaks.py").write_text(source)
    options = ["-p", "conftest", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.findall(r"^the test left changed: (.*)$", done.stdout, re.M) == list(LEAKS)
    assert done.returncode == 1
