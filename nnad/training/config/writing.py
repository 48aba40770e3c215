"""Writing a configuration as YAML that trains again as it is, and the schema of such files."""

from __future__ import annotations

import functools
from typing import Any

from nnad.data.options import source_table
from nnad.training.config.schema import Config
from nnad.training.registry import entries
from nnad.training.yaml_reader import read_scalar

__all__ = ["config_schema", "flow", "to_yaml"]


def to_yaml(config: Config) -> str:
    """Write a configuration with every default filled in; `parse_config` reads it back equal."""
    lines: list[str] = []
    for name, value in config.model_dump().items():
        if isinstance(value, dict) and value:
            lines.append(f"{name}:")
            lines += [f"  {flow(key)}: {flow(item)}" for key, item in value.items()]
        elif isinstance(value, list) and value:
            lines.append(f"{name}:")
            lines += [f"  - {_entry(item)}" for item in value]
        else:
            lines.append(f"{name}: {flow(value)}")
    return "\n".join(lines) + "\n"


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of configuration files, for editors that complete and check YAML.

    Keys, types and bounds come from the sections, names from what the package holds.
    """
    schema = Config.model_json_schema(mode="validation")
    sections = schema["$defs"]
    for section in (schema, *sections.values()):
        section["description"] = section["description"].partition("\n")[0]
    del sections["Component"]
    keys = schema["properties"]
    for kind in ("loss", "optimizer", "schedule"):
        keys[kind] = _described(keys[kind], _component(kind))
    keys["metrics"]["items"] = _component("metric")
    sections["Trainer"]["properties"]["callbacks"]["items"] = _component("callback")
    keys["model"]["items"] = {"$ref": "#/$defs/Layer"}
    sections["Layer"] = _layer()
    sections["Data"]["properties"]["name"]["enum"] = sorted(source_table())
    for name in ("Baseline", "Data"):  # a bare name may stand for these
        sections[name] = {"anyOf": [{"type": "string"}, sections[name]]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _described(key: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """Return the content with the description of the key it stands under."""
    return {"description": key["description"], **content}


def _component(kind: str) -> dict[str, Any]:
    """Describe a component: its name, or a mapping of its name and arguments."""
    name = {"enum": sorted(entries(kind)), "description": f"name of the {kind}"}
    return {"anyOf": [name, {"type": "object", "properties": {"name": name}}]}


def _layer() -> dict[str, Any]:
    """Describe a layer: a name, a name with its arguments, or a list of layers in a row."""
    names = {"enum": sorted(entries("layer"))}
    with_arguments = {
        "type": "object",
        "propertyNames": names,
        "minProperties": 1,
        "maxProperties": 1,
    }
    several = {"type": "array", "items": {"$ref": "#/$defs/Layer"}}
    return {"anyOf": [names, with_arguments, several]}


def _entry(item: Any) -> str:
    """Write an entry of a list of sections: ``Linear: {out_features: 10}`` without outer braces."""
    if isinstance(item, dict) and len(item) == 1:
        ((key, value),) = item.items()
        return f"{flow(key)}: {flow(value)}"
    return flow(item)


def flow(value: Any) -> str:
    """Write a value in a single line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _flow_text(value) if isinstance(value, str) else _dumped(value)


@functools.lru_cache(maxsize=1024)
def _flow_text(value: str) -> str:
    """Write a text: keys come again and again."""
    return _dumped(value)


def _dumped(value: Any) -> str:
    import yaml

    text = yaml.dump(
        value,
        Dumper=_dumper(),
        default_flow_style=True,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
    )
    return str(text).removesuffix("\n").removesuffix("\n...")


@functools.cache
def _dumper() -> Any:
    """The class that writes YAML; made once, since making it takes as long as writing a page."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes what our reader, which follows YAML 1.2, would take for something else."""

        def ignore_aliases(self, data: Any) -> bool:
            """Write a value that occurs twice out twice."""
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
        """Write a text, in quotes where it looks like a number."""
        style = None if isinstance(read_scalar(value), str) else "'"
        if not value.isprintable():
            style = '"'  # with line ends and control characters as escapes
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    Dumper.add_representer(tuple, yaml.SafeDumper.represent_list)
    return Dumper
