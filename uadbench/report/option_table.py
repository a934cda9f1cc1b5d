"""Option table: a method's options as its source states them, read without loading torch.

A method inherits options from classes in other modules: the classes are followed by their names, and Python
itself says in which order they count. Code that states an option otherwise than as a plain call is loaded.
"""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from uadbench.cards import MethodCard
from uadbench.source import module_file
from uadbench.system.parsing import parse_file

STAGES = {"fit_option": "fit", "score_option": "score"}


@dataclass(frozen=True)
class Option:
    """What a listing says of an option."""

    stage: str  # fit or score
    default: Any
    doc: str


def read_options(card: MethodCard) -> dict[str, Option]:
    """The options of a method by name, in the order in which its class has them."""
    try:
        kind = _class(f"uadbench.methods.{card.folder}.method", "ENTRY")
        return {
            name: option
            for one in reversed(kind.__mro__)
            for name, option in vars(one).get("own", {}).items()
        }
    except (LookupError, ValueError, TypeError, SyntaxError, OSError):
        return _load_options(card)


def _load_options(card: MethodCard) -> dict[str, Option]:
    """The same from the class itself."""
    from uadbench.methods import load, options

    return {
        name: Option(one.metadata["stage"], one.default, one.metadata["doc"])
        for name, one in options(load(card)).items()
    }


def _class(module: str, name: str) -> type:
    """A class with the same bases as one of a module, and the options that it adds as `own`."""
    names = _names(module)
    found = names.get(name)
    if isinstance(found, ast.ClassDef):
        bases = tuple(kind for base in found.bases if (kind := _base(module, base)) is not object)
        return type(name, bases, {"own": _own(found)})
    if isinstance(found, str):  # imported, or `ENTRY = TheClass`
        place, _, called = found.rpartition(".")
        return _class(place or module, called)
    raise LookupError(f"{module} has no class {name}")


def _base(module: str, base: ast.expr) -> type:
    """A base of a class; `object` for what is none of the project's."""
    first, _, rest = ast.unparse(base).partition(".")
    place = _names(module).get(first, "")
    if isinstance(place, ast.ClassDef):
        return _class(module, first)
    place, _, called = f"{place}.{rest}".rstrip(".").rpartition(".")
    return _class(place, called) if place.startswith("uadbench.") else object


def _names(module: str) -> dict[str, ast.ClassDef | str]:
    """The classes of a module, and the full names of what it imports."""
    file = module_file(module)
    if file is None:
        raise LookupError(f"there is no module {module}")
    return _read(file, file.stat().st_mtime_ns)


@cache
def _read(file: Path, changed_ns: int) -> dict[str, ast.ClassDef | str]:
    found: dict[str, ast.ClassDef | str] = {}
    for node in parse_file(file).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            found |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ENTRY":
            found["ENTRY"] = ast.unparse(node.value)
    return found


def _own(kind: ast.ClassDef) -> dict[str, Option]:
    """The options that a class itself states: `name: type = fit_option(default, "what it is")`."""
    found = {}
    for node in kind.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call):
            stage = STAGES[ast.unparse(node.value.func)]
            given = dict(zip(("default", "doc", "choices"), node.value.args, strict=False))
            given |= {one.arg: one.value for one in node.value.keywords if one.arg}
            default, doc = (ast.literal_eval(given[key]) for key in ("default", "doc"))
            found[ast.unparse(node.target)] = Option(stage, default, doc)
    return found
