"""The layout is the way of the data: who may import whom, how long a file may be, what stays unloaded."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "inputlayer"

# Read downwards, the names are the way of the data. A file imports only from those above it. A folder stands for all
# its files: they see their `base.py` (and what SHARED names), never each other; its `__init__.py` sees all of them.
ROAD = [
    "errors.py", "progress.py", "store.py", "plain.py", "lists.py", "kept.py", "graph.py", "files.py", "table.py",
    "statistics.py", "times.py", "tokens.py", "words.py", "pieces.py", "word_vectors.py", "media.py", "sound.py",
    "pictures.py", "scales.py", "filling.py", "entries.py", "codes.py", "number_embeddings.py",
    "columns/", "sequence/", "schema.py", "guess.py", "infer.py", "split.py",
    "blocks.py", "receipt.py", "fit.py", "order.py", "encode.py", "batch.py",
    "stages/", "layer.py", "bodies/", "heads/", "network.py", "checkpoint.py", "run.py", "training.py",
    "scores.py", "intervals.py", "forecast.py", "prediction.py", "csv_file.py",
    "streaming.py", "quick.py", "stepping.py",
    "seasons.py", "past.py", "linear.py", "pooled.py", "baselines.py", "evaluation.py", "tally.py", "artefact.py",
    "keras/",
    "wording.py", "shown.py", "road.py", "show.py", "comparison.py", "onnx/", "report/",
    "model.py", "variants.py", "prepared.py", "finished.py", "compare.py",
    "toml.py", "project.py", "program.py", "recipe.py", "draft.py", "runs.py", "compared.py",
    "checks/", "demo.py", "cli.py", "__main__.py", "__init__.py",
]  # fmt: skip

# Files at the front of a folder, in order, where `base.py` alone does not do.
SHARED: dict[str, list[str]] = {
    "bodies/": ["dense.py", "recurrent.py", "lstm.py", "gru.py"],
    "keras/": ["kinds.py"],
    "onnx/": [
        "tables.py", "clock.py", "cells.py", "rows.py", "ahead.py", "feeds.py", "engine.py", "runtime.py", "twin.py",
        "step.py", "drawn.py", "parity.py", "export.py",
    ],
    "report/": [
        "histogram.py",
        "raw.py",
        "passing.py",
        "outcome.py",
        "summary.py",
        "style.py",
        "plots.py",
        "markup.py",
        "inputs.py",
        "results.py",
    ],
    "checks/": ["columns.py"],
}  # fmt: skip

FILE_LINES = 300
FUNCTION_LINES = 40

# Imported inside the function that needs them: the base install has none of these.
OPTIONAL = {
    "PIL", "keras", "librosa", "matplotlib", "onnx", "onnxruntime", "pandas", "pyarrow", "soundfile", "tokenizers",
    "vega_datasets",
}  # fmt: skip
# The one door to other dataframe libraries.
DOOR = {"pandas", "pyarrow"}
# Classes that inherit from an optional package's: the folder's `__init__.py` loads these files when they are asked for.
AT_HOME = {"keras/": {"keras"}}
# A file that is read must not be able to run code.
UNSAFE = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "torch.load", "torch.save", "extractall"}


# -- who imports whom -------------------------------------------------------------------------------------------------


def imports(path: str, source: str, known: set[str]) -> Iterator[tuple[int, str]]:
    """The package's files that `source` imports at run time, functions included, with the line of each.

    `path` is the file's place in the package, "columns/number.py"; `known` are the paths of all its files.
    """
    for node in run_time_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, file_of(alias.name)) for alias in node.names if is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = absolute(path, node)
            for alias in node.names if is_ours(base) else ():
                whole = file_of(f"{base}.{alias.name}")
                yield node.lineno, whole if whole in known.union(ROAD) else file_of(base)
        elif isinstance(node, ast.Call) and called(node).endswith(("import_module", "__import__")) and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and is_ours(str(name.value)):
                yield node.lineno, file_of(str(name.value))


def run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING:``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from run_time_nodes(other)
        else:
            yield child
            yield from run_time_nodes(child)


def is_ours(module: str) -> bool:
    return module.split(".")[0] == "inputlayer"


def absolute(path: str, node: ast.ImportFrom) -> str:
    """The module that ``from ... import`` names, with leading dots resolved."""
    if not node.level:
        return node.module or ""
    package = ["inputlayer", *PurePosixPath(path).parts[:-1]]
    return ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])


def file_of(module: str) -> str:
    """ "inputlayer.columns.base" -> "columns/base.py"; a package -> its ``__init__.py``."""
    stem = "/".join(module.split(".")[1:])
    return f"{stem}/__init__.py".lstrip("/") if not stem or f"{stem}/" in ROAD else f"{stem}.py"


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def place(path: str) -> tuple[int, int]:
    """Where a file stands on the road: its step, and its place in the folder; ValueError if it has none."""
    folder, _, name = path.rpartition("/")
    if not folder:
        return ROAD.index(path), 0
    step = f"{folder}/"
    front = ["base.py", *SHARED.get(step, [])]
    inner = front.index(name) if name in front else len(front) + (name == "__init__.py")
    return ROAD.index(step), inner


def upward(path: str, source: str, known: set[str]) -> list[str]:
    """What is wrong with the imports of one file."""
    if not is_placed(path):
        return [f"{path}: not on the road. Add it to ROAD in tests/test_layout.py, at its place on the way of the data"]
    found = []
    for line, target in sorted(set(imports(path, source, known))):
        if not is_placed(target) or place(target) >= place(path):
            found.append(
                f"{path}:{line} imports {target}, which does not stand above it (ROAD in tests/test_layout.py)"
            )
    return found


def is_placed(path: str) -> bool:
    try:
        place(path)
    except ValueError:
        return False
    return True


# -- sizes ------------------------------------------------------------------------------------------------------------


def code_lines(source: str) -> set[int]:
    """The numbers of the lines that carry code: no docstring, comment or blank."""
    blank = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
    }  # fmt: skip
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in blank:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def too_long(path: str, source: str) -> list[str]:
    """The file, if it is too long, and each of its functions that is."""
    lines = code_lines(source)
    found = [f"{path}: {len(lines)} lines of code, at most {FILE_LINES}"] if len(lines) > FILE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = len(lines.intersection(range(node.lineno, (node.end_lineno or node.lineno) + 1)))
            if length > FUNCTION_LINES:
                found.append(f"{path}:{node.lineno} {node.name}: {length} lines of code, at most {FUNCTION_LINES}")
    return found


# -- packages ---------------------------------------------------------------------------------------------------------


def packages(node: ast.AST) -> set[str]:
    """The top-level packages that an import statement names."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and not node.level:
        return {(node.module or "").split(".")[0]}
    return set()


def wrong_packages(path: str, source: str) -> list[str]:
    """Optional packages at module level, dataframe libraries away from their door, anything that runs code."""
    tree = ast.parse(source)
    inside = {
        id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)
    }
    folder, _, name = path.rpartition("/")
    at_home = AT_HOME.get(f"{folder}/", set()) if name != "__init__.py" else set()
    found = []
    for node in run_time_nodes(tree):
        names = packages(node)
        if names & OPTIONAL - at_home and id(node) not in inside:
            found.append(f"{path}:{node.lineno} imports an optional package at module level: {names & OPTIONAL}")
        if names & DOOR and path != "table.py":
            found.append(
                f"{path}:{node.lineno} imports {names & DOOR}: table.py is the one door to dataframe libraries"
            )
        if names & UNSAFE:
            found.append(f"{path}:{node.lineno} imports {names & UNSAFE}, which runs code from files")
        if isinstance(node, ast.Call) and (called(node) in UNSAFE_CALLS or called(node).endswith(".extractall")):
            found.append(
                f"{path}:{node.lineno} calls {called(node)}, which runs code from files or writes where it likes"
            )
    return found


# -- the package ------------------------------------------------------------------------------------------------------


def files() -> dict[str, str]:
    return {p.relative_to(SOURCE).as_posix(): p.read_text(encoding="utf-8") for p in sorted(SOURCE.rglob("*.py"))}


@pytest.mark.parametrize("path", files())
def test_file(path: str) -> None:
    sources = files()
    source = sources[path]
    wrong = upward(path, source, set(sources)) + too_long(path, source) + wrong_packages(path, source)
    assert not wrong, "\n".join(wrong)


def in_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_no_large_package() -> None:
    large = {"torch", "lightning", "polars", "numpy", "sklearn", "safetensors", "rich", "typer"} | OPTIONAL
    code = f"import sys, inputlayer; print(*sorted({large} & set(sys.modules)))"
    assert in_new_process(code) == ""


def test_import_is_quick() -> None:
    code = "import time; t = time.perf_counter(); import inputlayer; print(time.perf_counter() - t)"
    assert min(float(in_new_process(code)) for _ in range(5)) <= 0.1


# -- the checks themselves --------------------------------------------------------------------------------------------

KNOWN = {
    "errors.py", "table.py", "schema.py", "model.py", "cli.py", "__init__.py", "columns/__init__.py", "columns/base.py",
    "columns/number.py", "columns/flag.py", "bodies/__init__.py", "bodies/base.py", "bodies/lstm.py",
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("schema.py", "from inputlayer.errors import SchemaError\nfrom inputlayer.columns.number import Number"),
        ("schema.py", "from inputlayer import errors, columns"),
        ("columns/number.py", "from inputlayer.columns.base import Column\nfrom inputlayer.table import Table"),
        ("columns/number.py", "from .base import Column\nfrom ..errors import OptionError"),
        ("columns/__init__.py", "from inputlayer.columns.number import Number"),
        ("table.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from inputlayer.model import Model"),
        ("__init__.py", "import inputlayer.model"),
        ("errors.py", "import inputlayers.model, polars"),
    ],
)
def test_downward_imports_pass(path: str, source: str) -> None:
    assert upward(path, source, KNOWN) == []


@pytest.mark.parametrize(
    ("path", "source", "target"),
    [
        ("errors.py", "from inputlayer.table import Table", "table.py"),
        ("errors.py", "def f():\n    from inputlayer.table import Table", "table.py"),
        ("errors.py", "import inputlayer.table", "table.py"),
        ("errors.py", "from inputlayer import table", "table.py"),
        ("errors.py", "from . import table", "table.py"),
        ("errors.py", "import importlib\nimportlib.import_module('inputlayer.table')", "table.py"),
        ("table.py", "from inputlayer.columns import COLUMNS", "columns/__init__.py"),
        ("table.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import inputlayer.model", "model.py"),
        ("cli.py", "import inputlayer as il", "__init__.py"),
        ("cli.py", "from inputlayer import Model", "__init__.py"),
        ("columns/number.py", "from inputlayer.columns.flag import Flag", "columns/flag.py"),
        ("columns/number.py", "from .flag import Flag", "columns/flag.py"),
        ("columns/number.py", "from inputlayer.columns import Flag", "columns/__init__.py"),
        ("columns/base.py", "from inputlayer.columns.flag import Flag", "columns/flag.py"),
        ("columns/number.py", "from inputlayer.bodies.base import Body", "bodies/base.py"),
        ("schema.py", "from inputlayer.gone import Thing", "gone.py"),
    ],
)
def test_upward_import_is_found(path: str, source: str, target: str) -> None:
    (message,) = upward(path, source, KNOWN)
    assert f"imports {target}, which does not stand above it" in message


@pytest.mark.parametrize("path", ["helpers.py", "utils/__init__.py", "columns/deep/number.py"])
def test_unknown_file_is_found(path: str) -> None:
    assert upward(path, "", KNOWN) == [
        f"{path}: not on the road. Add it to ROAD in tests/test_layout.py, at its place on the way of the data"
    ]


def test_code_lines_leave_out_docstrings_comments_and_blanks() -> None:
    source = (
        '"""Doc.\n\nMore."""\n\nx = 1  # why\n# why\ntext = """a\n\nb"""\n\n\n'
        'def f():\n    """Doc."""\n    return (\n        x\n    )\n'
    )
    assert code_lines(source) == {5, 7, 8, 9, 12, 14, 15, 16}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n" * 301, "x.py: 301 lines of code, at most 300"),
        ("def f():\n" + "    x = 1\n" * 40, "x.py:1 f: 41 lines of code, at most 40"),
        ("class C:\n    async def f(self):\n" + "        x = 1\n" * 40, "x.py:2 f: 41 lines of code, at most 40"),
    ],
)
def test_long_code_is_found(source: str, message: str) -> None:
    assert too_long("x.py", source) == [message]


def test_code_at_the_limit_passes() -> None:
    assert too_long("x.py", "def f():\n" + "    # why\n    x = 1\n\n" * 39 + "x = 1\n" * 260) == []


@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("graph.py", "import onnx.helper", "optional package at module level: {'onnx'}"),
        (
            "graph.py",
            "try:\n    from onnx import helper\nexcept ImportError:\n    pass",
            "optional package at module level",
        ),
        ("keras/__init__.py", "import keras", "optional package at module level: {'keras'}"),
        ("keras/layer.py", "import onnx", "optional package at module level: {'onnx'}"),
        ("show.py", "def f():\n    import pandas", "one door to dataframe libraries"),
        ("store.py", "def f():\n    import pickle", "runs code from files"),
        ("store.py", "def f(p):\n    return torch.load(p)", "calls torch.load"),
        ("store.py", "def f(z):\n    z.extractall()", "calls z.extractall"),
    ],
)
def test_wrong_package_is_found(path: str, source: str, message: str) -> None:
    (found,) = wrong_packages(path, source)
    assert message in found


def test_optional_package_inside_a_function_passes() -> None:
    assert wrong_packages("graph.py", "def f():\n    import onnx\n    model.eval()") == []
    assert wrong_packages("table.py", "def f():\n    import pandas") == []
    assert wrong_packages("keras/layer.py", "import keras") == []
