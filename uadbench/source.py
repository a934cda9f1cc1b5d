"""Source: the code that decides what a method learns and answers, known by its syntax.

It is the method's module and the modules of the project that it imports, directly or through others. A
comment, a docstring, the layout of the lines and what an error says change nothing. Left out is the harness:
how methods are found, talked to and measured, and how files are kept; and what of a method no run calls.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from uadbench import catalog
from uadbench.system.files import sha256, sha256_json
from uadbench.system.parsing import parse_file

PACKAGE = Path(__file__).resolve().parent
HARNESS = frozenset(
    f"uadbench{name}"
    for name in (
        "", ".methods", ".datasets", ".cards", ".catalog", ".protocol", ".data.session",
        ".learning.checkpoint",
        ".system.errors", ".system.files", ".system.owners", ".system.parsing", ".system.progress",
        ".system.tensors",
    )
)  # fmt: skip


def hash_method_files(folder: str) -> dict[str, str]:
    """Hash of the syntax of every file that a method depends on, by its place; see `hash_files`."""
    return hash_files(f"uadbench.methods.{folder}.method")


def hash_files(module: str) -> dict[str, str]:
    """Hash of the syntax of a module's file and of every one that it depends on, by its place, such as
    `uadbench/learning/scores.py`.
    """
    waiting, found = [module], dict[str, str]()
    while waiting:
        module = waiting.pop()
        file = module_file(module)
        if file is None or module in HARNESS or _place(module, file) in found:
            continue
        state = file.stat()
        found[_place(module, file)], imported = _read(file, module, state.st_size, state.st_mtime_ns)
        waiting += imported
    return dict(sorted(found.items()))


def module_file(module: str) -> Path | None:
    """Where a module of the project lies; None where there is none: a name in a module, other packages."""
    parts = module.split(".")
    if parts[0] != "uadbench":
        return None
    root, rest = PACKAGE, parts[1:]
    if len(parts) > 2 and parts[1] in ("methods", "datasets"):
        home = next((f for f in catalog.folders(parts[1]) if (f / parts[2]).is_dir()), None)
        if home is None:
            return None
        root, rest = home, parts[2:]
    place = root.joinpath(*rest)
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)


def _place(module: str, file: Path) -> str:
    """A module's file as it is called in the project, wherever that or a plug-in lies."""
    package = file.name == "__init__.py"
    parts = module.split(".") if package else module.split(".")[:-1]
    return "/".join([*(parts[1:] if parts[1:2] in (["methods"], ["datasets"]) else parts), file.name])


@cache
def _read(file: Path, module: str, size: int, changed_ns: int) -> tuple[str, tuple[str, ...]]:
    """Hash of a file's syntax, and the modules that it may import."""
    tree = parse_file(file)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return sha256_json(canonical(tree)), tuple(sorted(set(_imports(tree, package))))


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Full names of what is imported: modules, and names that may be modules; not what is for types only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from (name, *(f"{name}.{alias.name}" for alias in node.names))
        else:
            yield from _imports(node, package)


def canonical(node: Any) -> Any:
    """A syntax tree as plain lists, the same for all versions of Python that read the code the same way.

    Not `ast.dump`, whose text differs between versions: fields that are empty are passed over, and so are
    statements that do nothing, such as docstrings and `pass`.
    """
    if isinstance(node, ast.Constant):
        return ["Constant", type(node.value).__name__, repr(node.value)]
    if isinstance(node, ast.Raise):
        return ["Raise", canonical(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)]
    if isinstance(node, ast.AST):
        fields = ((name, canonical(value)) for name, value in ast.iter_fields(node) if name not in _NO_CODE)
        return [type(node).__name__, [[name, value] for name, value in fields if value not in (None, [])]]
    if isinstance(node, list):
        return [canonical(item) for item in node if not _does_nothing(item)]
    return node if node is None or isinstance(node, int) else str(node)


_NO_CODE = ("ctx", "kind", "type_comment", "type_ignores")
_NOT_IN_A_RUN = ("calibration_state", "load_calibration")  # of a method: called where a model is exported


def _does_nothing(node: Any) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name in _NOT_IN_A_RUN
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def source_hash(folder: str) -> str:
    """One hash of all the code that a method depends on."""
    return sha256("".join(f"{place} {digest}\n" for place, digest in hash_method_files(folder).items()))
