"""A digest of the code a job runs: the workflow reruns what an edit concerns, and only that.

Snakemake sees a script change, but not the modules it imports. A rule therefore carries as a
parameter the digest of the modules that decide its numbers, followed through their imports.

Snakemake takes the digests at every start, and parsing the package took a third of it. So what a
file says is remembered by its content in the user's cache folder, which may be deleted any time.
"""

import ast
import hashlib
import json
from contextlib import suppress
from functools import cache
from pathlib import Path

from platformdirs import user_cache_path
from pydantic import TypeAdapter

from ptpp.errors import Unwritable
from ptpp.jobs.files import write_text

_Read = tuple[str, list[tuple[str, str]]]  # the digest of a file, and the names it imports
MOST_REMEMBERED = 2000  # files; beyond, the cache begins anew
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
    remembered = _read_cache()
    known = len(remembered)
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found and module not in CHANGE_NO_NUMBERS:
            found[module], imported = _read_module(_path(module), remembered)
            waiting += [_imported_module(*names) for names in imported]
    if len(remembered) > known:
        _write_cache(remembered)
    text = "".join(f"{module}:{digest}\n" for module, digest in sorted(found.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _path(module: str) -> Path:
    place = PACKAGE.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def _imported_module(module: str, name: str) -> str:
    """The module that `from module import name` reads; `name` is empty for `import module`."""
    whole = f"{module}.{name}"
    return whole if name and _path(whole).exists() else module


def _read_module(path: Path, remembered: dict[str, _Read]) -> _Read:
    """The digest of one file's syntax tree and data, and what it imports of ptpp: module and name.

    `remembered`: by the digest of their content, what files said; it is added to.
    """
    data = path.with_suffix(".yaml")  # a module's data lie beside it
    source, data = path.read_bytes(), data.read_bytes() if data.is_file() else b""
    content = hashlib.sha256(_OWN + b"%d " % len(source) + source + data).hexdigest()
    if content not in remembered:
        tree = ast.parse(source, filename=str(path))
        imported = _imports(tree)  # before the tree is changed
        text = ast.dump(_WithoutWords().visit(tree)).encode()
        remembered[content] = hashlib.sha256(text + data).hexdigest(), imported
    return remembered[content]


def _imports(tree: ast.AST) -> list[tuple[str, str]]:
    pairs = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            pairs += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            pairs += [(node.module or "", alias.name) for alias in node.names]
    return [pair for pair in pairs if pair[0].split(".")[0] == "ptpp"]


_OWN = Path(__file__).read_bytes()  # another version of this file remembers other things


def _cache_file() -> Path:
    return user_cache_path("ptpp") / "code.json"


@cache
def _read_cache() -> dict[str, _Read]:
    with suppress(OSError, ValueError):  # absent, or not ours
        remembered = TypeAdapter(dict[str, _Read]).validate_json(_cache_file().read_bytes())
        if len(remembered) <= MOST_REMEMBERED:
            return remembered
    return {}


def _write_cache(remembered: dict) -> None:
    with suppress(OSError, Unwritable):  # it is only slower without
        write_text(_cache_file(), json.dumps(remembered))


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
