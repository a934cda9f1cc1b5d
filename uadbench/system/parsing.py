"""Parsing: source and the headers of arrays, one at a time whatever the number of threads.

Python 3.11 keeps one count of depth for the syntax trees of all threads (CPython issue 106905), so that two
which parse at once end now and then with "AST constructor recursion depth mismatch". NumPy parses the header
of every array that it reads (`uadbench.system.arrays`).
"""

import ast
from pathlib import Path
from threading import Lock

PARSING = Lock()


def parse_file(file: Path) -> ast.Module:
    """The syntax of a file."""
    with PARSING:
        return ast.parse(file.read_bytes(), str(file))
