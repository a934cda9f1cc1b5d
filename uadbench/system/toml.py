"""TOML files that people write (cards, grids), read as values of annotated types.

The annotations are all there is to state: msgspec checks types and bounds, and a mistake becomes one
sentence that names the file and the key, what was expected and what came.
"""

import re
import tomllib
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
from msgspec import inspect

from uadbench.system.errors import UserError, check_known, unknown
from uadbench.system.text import HIDDEN, visible

LARGEST_BYTES = 2**20  # of a file; the largest of the project has some thousand
DEEPEST = 20  # tables within tables

T = TypeVar("T")


def parse(path: Path) -> dict[str, Any]:
    """The content of a TOML file, a copy for the caller; what cannot be read names the file."""
    try:
        state = path.stat()
        return deepcopy(_parsed(path, state.st_mtime_ns, state.st_size))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


@cache
def _parsed(path: Path, changed_ns: int, size: int) -> dict[str, Any]:
    """The content of a TOML file as it was then; the plan of one cell reads every card several times."""
    if size > LARGEST_BYTES:
        raise UserError(f"{path} has {size:,} bytes; expected {LARGEST_BYTES:,} at most.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        _check_text(content, str(path), "", DEEPEST)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid TOML: {visible(str(error))}.") from error
    return content


def _check_text(value: Any, where: str, key: str, depth: int) -> None:
    """Refuse control characters, in keys too: names and sentences of a file are printed and passed on."""
    if depth == 0:
        raise ValueError(f"more than {DEEPEST} tables or lists within each other")
    if isinstance(value, str) and (found := HIDDEN.search(value)):
        raise UserError(
            f"{where}: {key} expects text without control characters, got {found[0]!a}; "
            "to continue on the next line, end a line of a long text with a backslash."
        )
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        _check_text(str(name), where, f"the key {name!a}", depth)
        _check_text(part, where, f"{key}.{name}" if key else str(name), depth - 1)


def typed(kind: type[T], content: Mapping[str, Any], where: str) -> T:
    """The content of a file (or of a table of it, as `where` says) as a value of a dataclass."""
    _check_names(content, _info(cast(Any, kind)), where, "")
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"{where}: {_sentence(str(error), content)}.") from error


@cache
def _info(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _check_names(value: Any, kind: inspect.Type, where: str, key: str) -> None:
    """Refuse unknown keys and words, where msgspec would not say which there are."""
    if isinstance(kind, inspect.LiteralType) and isinstance(value, str) and value not in kind.values:
        raise unknown(key.rpartition(".")[2], value, kind.values, of=where)
    if isinstance(kind, inspect.UnionType):
        for one in kind.types:
            _check_names(value, one, where, key)
    elif isinstance(kind, inspect.VarTupleType | inspect.ListType) and isinstance(value, list):
        for item in value:
            _check_names(item, kind.item_type, where, key.removesuffix("s"))  # one of `presets` is a preset
    elif isinstance(kind, inspect.DictType) and isinstance(value, dict):
        for name, item in value.items():
            _check_names(name, kind.key_type, where, f"key of {key}")
            _check_names(item, kind.value_type, where, f"{key}.{name}")
    elif isinstance(kind, inspect.DataclassType | inspect.TypedDictType) and isinstance(value, dict):
        there = {field.name: field.type for field in kind.fields}
        for name, item in value.items():
            check_known("key", name, there, of=f"[{key}] of {where}" if key else where)
            _check_names(item, there[name], where, f"{key}.{name}" if key else name)


def _sentence(message: str, content: Any) -> str:
    """What msgspec says ("Expected `int` >= 1 - at `$.slurm.gpus`") with the key first and what came."""
    reason, _, place = message.partition(" - at `")
    path = place.rstrip("`").removeprefix("key` in `").removeprefix("$").removeprefix(".")
    key = path.replace("[...]", "")
    if reason.startswith("Object missing required field"):
        return f"{key or 'it'} lacks {reason.rpartition(' ')[2].strip('`')}"
    if not reason.startswith("Expected"):
        return f"{key}: {reason}" if key else reason
    expected, _, got = reason.replace("`", "").removeprefix("Expected ").partition(", got ")
    if "..." not in path:  # else it is somewhere in a table of any keys
        for name, index in re.findall(r"(\w+)|\[(\d+)\]", path):
            content = content[name or int(index)]
        got = visible(repr(content))[:80]
    expected = re.sub("str matching regex .*", "one word without blanks and quotes", expected)
    expected = expected.replace("array", "list").replace("object", "table")
    return f"{key} expects {expected}" + (f", got {got}" if got else "")
