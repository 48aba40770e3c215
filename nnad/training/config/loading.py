"""Finding, reading and checking configuration files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nnad.errors import ConfigError, did_you_mean
from nnad.files import ordinary
from nnad.training.config.checks import check_components, completed
from nnad.training.config.locations import Locations
from nnad.training.config.overrides import apply_override
from nnad.training.config.problems import messages, quote
from nnad.training.config.schema import Config
from nnad.training.yaml_reader import MAX_CHARACTERS, Document, read_yaml

__all__ = ["find_config", "load_config", "parse_config", "text_of"]

SUFFIXES = (".yaml", ".yml")
REPOSITORY_CONFIGS = Path(__file__).resolve().parents[3] / "configs"
# Where a section is wrong, the others are checked beside a stand-in for it.
PLACEHOLDERS: dict[str, Any] = {"data": {"name": "-"}, "model": ["-"], "loss": "-"}


def load_config(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Config:
    """Read a configuration file, apply overrides, check everything.

    Args:
        path: a file, or a bare name that is looked up in ``configs/`` too (see `find_config`).
        overrides: ``key.path=value`` each, the value written as in YAML; later ones win.

    Raises:
        ConfigError: with every problem found, one line each.
    """
    file = find_config(path)
    return parse_config(
        text_of(file), overrides, file=str(file), default_name=file.stem, folder=str(file.parent)
    )


def parse_config(
    text: str,
    overrides: Iterable[str] = (),
    *,
    file: str = "config",
    folder: str = "",
    default_name: str = "run",
) -> Config:
    """Read a configuration from YAML text; see `load_config`.

    Args:
        text: the YAML document.
        overrides: ``key.path=value`` each.
        file: what messages call the document.
        folder: where relative paths are tried after the current folder.
        default_name: ``output.name`` where the document gives none.
    """
    document = read_yaml(text)
    locations = Locations(file=file, folder=folder, lines=document.lines)
    problems = [
        ": ".join(part for part in (f"{file}:{line}", Locations().label(path), message) if part)
        for path, line, message in document.problems
    ]
    raw = _mapping_of(document, locations, problems)
    if raw is None:
        raise ConfigError(problems)
    problems += filter(None, [apply_override(raw, locations, item) for item in overrides])
    output = raw.setdefault("output", {})
    if isinstance(output, dict):
        output.setdefault("name", default_name)
    config = _checked(raw, locations, problems)
    if problems:
        raise ConfigError(problems)
    return completed(config)


def _mapping_of(
    document: Document, locations: Locations, problems: list[str]
) -> dict[Any, Any] | None:
    """Return the document's mapping, or note that it is none."""
    if isinstance(document.value, dict):
        return document.value
    if not problems:
        got = "an empty document" if document.value is None else quote(document.value)
        problems.append(f"{locations.label(())}: expected a mapping of sections, got {got}")
    return None


def _checked(raw: dict[Any, Any], locations: Locations, problems: list[str]) -> Config:
    """Check every section by itself and the right ones against each other; note all problems."""
    wrong: set[Any] = set()
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems += messages(error, locations)
        wrong = {detail["loc"][0] for detail in error.errors(include_url=False)}
        kept = {k: v for k, v in raw.items() if isinstance(k, str) and k not in wrong}
        stand_ins = {key: value for key, value in PLACEHOLDERS.items() if key not in kept}
        config = Config.model_validate({**kept, **stand_ins})
    config._locations = locations
    problems += check_components(config, skip=wrong)
    return config


def find_config(path: str | os.PathLike[str]) -> Path:
    """Return the file that a path or a bare name stands for.

    A bare name (``mlp`` or ``mlp.yaml``) is looked up in the current folder, then in ``configs/``
    there, then in the ``configs/`` that comes with the source code.

    Raises:
        ConfigError: there is no such file.
    """
    asked = Path(path)
    names = [asked]
    if asked.suffix not in SUFFIXES:
        names += [Path(f"{asked}{suffix}") for suffix in SUFFIXES]
    bare = asked.parent == Path() and not asked.is_absolute()
    folders = [Path(), Path("configs"), REPOSITORY_CONFIGS] if bare else [Path()]
    for folder in folders:
        for name in names:
            if (folder / name).exists() and not (folder / name).is_dir():
                return folder / name
    if asked.is_dir():
        run = asked / "config.yaml"
        hint = f"; --resume continues a run, --config {run} repeats it" if run.exists() else ""
        raise ConfigError(f"{path}: is a folder, expected a YAML file{hint}")
    known = [item for folder in folders for item in sorted((folder / asked).parent.glob("*.yaml"))]
    likely = [item.name if asked.suffix in SUFFIXES else item.stem for item in known]
    where = " here or in configs/" if bare else ""
    raise ConfigError(f"{path}: there is no such file{where}{did_you_mean(asked.name, likely)}")


def text_of(file: Path) -> str:
    """Return a file's text, without a byte order mark."""
    try:
        with open(file, "rb", opener=ordinary) as stream:
            content = stream.read(4 * MAX_CHARACTERS + 1)
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}:{line}: not UTF-8 text, cannot be read as YAML") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
