"""A digest of the code a job runs: the workflow reruns what an edit concerns, and only that.

Snakemake sees a script change, but not the modules it imports. A rule therefore carries as a
parameter the digest of the modules that decide its numbers, followed through their imports.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# These move bytes and words, never numbers; an edit to them reruns nothing.
CHANGE_NO_NUMBERS = frozenset(
    {
        *("ptpp", "ptpp.errors", "ptpp.jobs.files", "ptpp.jobs.job", "ptpp.jobs.progress"),
        *("ptpp.jobs.heartbeat", "ptpp.training.events"),
    }
)


def code_digest(*modules: str) -> str:
    """Twelve hexadecimal digits over the source of `modules` and all of ptpp they import.

    Comments, docstrings and layout do not count: the digest is taken over the syntax tree.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found and module not in CHANGE_NO_NUMBERS:
            found.add(module)
            waiting += _parsed(_path(module))[1]
    text = "".join(f"{module}:{_parsed(_path(module))[0]}\n" for module in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _path(module: str) -> Path:
    place = PACKAGE.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@cache
def _parsed(path: Path) -> tuple[str, tuple[str, ...]]:
    """The digest of one file's syntax tree, and the ptpp modules it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names if alias.name.split(".")[0] == "ptpp"]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ptpp":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                imports.append(name if _path(name).exists() else node.module)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            _drop_docstring(node)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(imports)


def _drop_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> None:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        node.body = node.body[1:] or [ast.Pass()]
