"""The core imports only the standard library, numpy, torch and itself (docs: two layers, one rule)."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "perception"
CORE = ("geometry", "ops", "camera", "lidar", "fusion", "head", "export", "model.py")
ALLOWED = {"numpy", "torch", "perception", "spconv"}  # spconv: the optional encoder imports it where it is used


def core_files() -> list[Path]:
    return [f for name in CORE for f in ([PACKAGE / name] if name.endswith(".py") else (PACKAGE / name).rglob("*.py"))]


def test_the_core_imports_spconv_where_it_is_used_and_nowhere_else() -> None:
    """It takes seconds to import, and most programs do without."""
    users = {}
    for path in core_files():
        tree = ast.parse(path.read_text())
        if any("spconv" in name.split(".") for name in imported(tree)):
            users[path.name] = [name for node in tree.body for name in imported(node) if not inside_function(node)]
    assert users.keys() == {"sparse_encoder.py"}
    assert not any(name.startswith("spconv") for name in users["sparse_encoder.py"])


def inside_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.ClassDef)


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", core_files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_core_imports_only_the_core(path: Path) -> None:
    for name in imported(ast.parse(path.read_text())):
        top, _, rest = name.partition(".")
        assert top in ALLOWED or top in sys.stdlib_module_names, f"{path} imports {name}"
        if top == "perception":
            part = rest.split(".")[0]
            # The package itself has nothing but its version.
            assert not part or part in {n.removesuffix(".py") for n in CORE}, f"{path} imports the harness: {name}"
