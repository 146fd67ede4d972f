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

    The digest is taken over the syntax tree without what moves no number: comments, docstrings,
    layout, calls of a logger, and the words of errors.
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
    """The digest of one file's syntax tree and data, and the ptpp modules it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names if alias.name.split(".")[0] == "ptpp"]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ptpp":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                imports.append(name if _path(name).exists() else node.module)
    tree = _WithoutWords().visit(tree)
    data = path.with_suffix(".yaml")  # a module's data lie beside it
    content = ast.dump(tree).encode() + (data.read_bytes() if data.is_file() else b"")
    return hashlib.sha256(content).hexdigest(), tuple(imports)


class _WithoutWords(ast.NodeTransformer):
    """Drops docstrings, log calls and the texts within `raise` statements."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if getattr(node, "body", None) == []:  # nothing but words stood there
            node.body = [ast.Pass()]
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        value = node.value
        is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
        return None if is_text or _is_log_call(value) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return _WithoutTexts().visit(node)


class _WithoutTexts(ast.NodeTransformer):
    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.Constant("")

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("") if isinstance(node.value, str) else node


def _is_log_call(node: ast.expr) -> bool:
    """Whether it is log.info(...) or the like."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("log", "logger", "logging", "warnings")
    )
