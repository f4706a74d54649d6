"""What is wrong with arguments and configs, in a line or two instead of all that could be given."""

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningArgumentParser

from dff import configs
from dff.lit.renamed import PARSER_MODE, renamed_words, say

_UNKNOWN = re.compile(
    r"(?:Option|Key) '([\w.]+)' is not|does not accept (?:nested key|option) '([\w.]+)'"
    r"|unrecognized arguments: --?([\w.]+)"
)
_NO_LIST = re.compile(r"Parser key \"([\w.]+)\":\s+Expected a <class 'list'>\. Got value: (.*)")
_NO_CLASS = re.compile(r"Expected a dot import path string: (\S+)")
_CLASS = re.compile(r"class_path '([\w.]+)'")
_BASES = {"model": L.LightningModule, "data": L.LightningDataModule}


class _ShortErrors(ArgumentParser):
    """Understands old names; ends as argparse does, with 2, without a usage of a hundred lines."""

    def __init__(self, *args: Any, parser_mode: str = PARSER_MODE, **kwargs: Any) -> None:
        super().__init__(*args, parser_mode=parser_mode, **kwargs)

    def parse_args(  # type: ignore[override]  # argparse's overloads say no more than this
        self, args: Sequence[Any] | None = None, *more: Any, **kwargs: Any
    ) -> Any:
        words = renamed_words(sys.argv[1:] if args is None else args)
        return super().parse_args(words, *more, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        actions = list(parser._actions)
        for action in parser._actions:  # `fit`, which stands between Lightning's parser and ours
            for below in getattr(action, "_name_parser_map", {}).values():
                actions += below._actions
        names = [action.dest for action in actions]
        given = getattr(self, "args", None) or sys.argv[1:]
        words = in_short(message, names, given, self.prog)
        sys.stderr.write(f"error: {words}\n")
        sys.exit(2)


class Parser(_ShortErrors):
    """jsonargparse's, for a script."""


class FitParser(_ShortErrors, LightningArgumentParser):
    """Lightning's, for its command line."""


def in_short(message: str, names: Iterable[str], given: Sequence[Any], command: str) -> str:
    """Says what a parser says in a line or two.

    Args:
        message: Of jsonargparse.
        names: Of what the parser takes.
        given: The arguments, among them the config files.
        command: What the parser is of.
    """
    found = list(_UNKNOWN.finditer(message))
    if not found and (value := _NO_LIST.search(message)):
        return f'{value[1]}: {value[2]!r} is no list: wanted brackets and quotes, as in "[1,2]"'
    if not found and (name := _NO_CLASS.search(message)):
        key = message.partition('"')[2].partition('"')[0]
        if key in _BASES:
            return f"--{key} has no {name[1]!r}: {_classes_near(name[1], _BASES[key])}"
    if not found:
        return f"{_innermost(message)} (--help says what can be given)"
    unknown = next(group for group in found[-1].groups() if group)
    key = unknown.rpartition(".")[2]
    classes = [c for c in _CLASS.findall(message[: found[-1].start()]) if "." in c]
    group = re.search(r"Group '([\w.]+)'", message)
    prefix = group.group(1) if group else unknown.rpartition(".")[0].removesuffix(".init_args")
    if classes:
        owner, valid = classes[-1].rpartition(".")[2], _settings([_imported(classes[-1])])
    elif prefix in _BASES:
        owner, valid = f"--{prefix}", _settings(_subclasses(_BASES[prefix]))
    else:
        within = f"{prefix}." if prefix else ""
        owner = f"--{prefix}" if prefix else command
        valid = [n.removeprefix(within) for n in names if n.startswith(within)]
    near = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
    cure = f"the nearest that it has is {near[0]!r}" if near else "--help says what it has"
    return f"{owner} has no setting {key!r} ({_place(key, given)}): remove it; {cure}"


def _innermost(message: str) -> str:
    """What is wrong with a value: the last key of a nested message, and the lines below it."""
    head, *nested = re.split(r'Parser key "([\w.]+)":', message)
    keys, told = ".".join(nested[::2]), nested[-1] if nested else head
    lines = re.split(r"\n\s*(?:- |Given value)", told.strip())[0].splitlines()
    words = " ".join(line.strip() for line in lines)[:300]
    return f"{keys}: {words}" if keys else words


def _place(key: str, given: Sequence[Any]) -> str:
    """The file and line that a setting stands in; the command line, where it is in none."""
    for file in config_files(given):
        try:
            lines = file.read_text().splitlines()
        except (OSError, ValueError):
            continue
        for number, line in enumerate(lines, 1):
            if re.match(rf"\s*(- )?['\"]?{re.escape(key)}['\"]?\s*:", line) or re.search(
                rf"[{{,]\s*{re.escape(key)}\s*:", line
            ):
                return f"{file}, line {number}"
    return "on the command line"


def config_files(given: Sequence[Any]) -> list[Path]:
    """The config files among arguments."""
    words = [str(word) for word in given]
    return [Path(words[place].partition("=")[2] or words[place]) for place in _configs(words)]


def with_config_files(given: Sequence[Any]) -> list[str]:
    """Arguments in which configs that are named are the files that they name.

    Raises:
        FileNotFoundError: There is none of such a name.
    """
    words = [str(word) for word in given]
    for place in _configs(words):
        flag, equals, value = words[place].rpartition("=")
        if re.search(r"[:{\n]", value):  # an address, or settings in place of a file
            continue
        file = configs.find(value)
        if file != Path(value) and Path(value).name != value:
            say(f"{value} is not here: {file} is taken")
        words[place] = f"{flag}{equals}{file}"
    return words


def _configs(words: Sequence[str]) -> list[int]:
    """Where configs stand, as a word of their own or behind `--config=`."""
    places = []
    for place, word in enumerate(words):
        flag, equals, _ = word.partition("=")
        if flag in ("--config", "-c") and (equals or place + 1 < len(words)):
            places.append(place if equals else place + 1)
    return places


def _imported(path: str) -> type:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _subclasses(base: type) -> list[type]:
    children: list[type] = base.__subclasses__()
    below = [c for child in children for c in (child, *_subclasses(child))]
    return [c for c in below if c.__module__.startswith("dff.")]


def _classes_near(name: str, base: type) -> str:
    names = sorted({c.__name__ for c in _subclasses(base) if not inspect.isabstract(c)})
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"the nearest is {near[0]!r}" if near else f"wanted one of {', '.join(names)}"


def _settings(classes: Iterable[type]) -> list[str]:
    """What their constructors take; one that takes any hands them to that of its parent."""
    family = {m for c in classes for m in c.__mro__ if m.__module__.startswith("dff.")}
    makers = {m.__init__ for m in family}  # type: ignore[misc]  # of a class, not of its objects
    names = {name for maker in makers for name in inspect.signature(maker).parameters}
    return sorted(names - {"self", "args", "kwargs"})
