"""``nnad completion``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nnad.cli import COMMANDS, command
from nnad.cli.parser import Described, Parser

BASH = """\
# nnad: completion for bash; in zsh, first: autoload -U +X bashcompinit && bashcompinit
_nnad() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} words
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case ${{COMP_WORDS[1]}} in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current") $(compgen -f -- "$current"))
}}
complete -o filenames -F _nnad nnad
"""

SHELLS = ("bash", "zsh", "fish")


def completion(arguments: Sequence[str], prog: str = "nnad completion") -> int:
    """Print a script by which a shell completes nnad's commands and options."""
    parser = Parser(
        prog,
        description=completion.__doc__,
        examples=[
            'bash: eval "$(nnad completion bash)"',
            'zsh:  eval "$(nnad completion zsh)"',
            "fish: nnad completion fish | source",
        ],
    )
    parser.add_argument("shell", choices=SHELLS, help=", ".join(SHELLS))
    options = parser.parse_args(arguments)
    words = {name: list(_words(name)) for name in COMMANDS}
    print({"fish": _fish, "zsh": _zsh}.get(options.shell, _bash)(words), end="")
    return 0


def _words(name: str) -> Iterator[str]:
    """What may stand after a command: its options, and the choices of its arguments."""
    for action in _parser_of(name)._actions:
        yield from action.option_strings
        yield from action.choices or ()
    if name == "train":
        yield from _overrides()
    if name == "show":
        from nnad.training.catalogue import LISTS
        from nnad.training.registry import entries

        for kind in LISTS.values():
            yield from entries(kind) if kind != "dataset" else ()


def _parser_of(name: str) -> Parser:
    """The parser that a command makes before it reads its arguments."""
    Parser.describing = True
    try:
        command(name)([])
    except Described as found:
        return found.args[0]
    finally:
        Parser.describing = False
    raise AssertionError(f"{name} did not parse its arguments")


def _overrides() -> Iterator[str]:
    """The dotted keys of a configuration that have a section of their own."""
    from nnad.training.config import config_schema

    schema = config_schema()
    for section, content in schema["properties"].items():
        reference = content.get("$ref", "").rpartition("/")[2]
        keys = schema["$defs"].get(reference, {}).get("properties", {})
        yield from (f"{section}.{key}=" for key in keys)


def _bash(words: dict[str, list[str]]) -> str:
    cases = "\n".join(f'            {n}) words="{" ".join(w)}" ;;' for n, w in words.items())
    return BASH.format(commands=" ".join(words), cases=cases)


def _zsh(words: dict[str, list[str]]) -> str:
    return "autoload -U +X bashcompinit && bashcompinit\n" + _bash(words)


def _fish(words: dict[str, list[str]]) -> str:
    lines = [
        f"complete -c nnad -n __fish_use_subcommand -f -a {name} -d '{text}'"
        for name, text in ((n, COMMANDS[n].replace("'", "’")) for n in words)
    ]
    for name, found in words.items():
        lines.append(
            f"complete -c nnad -n '__fish_seen_subcommand_from {name}' -a '{' '.join(found)}'"
        )
    return "\n".join(lines) + "\n"
