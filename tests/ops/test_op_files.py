"""Every op has its whole set of files, all under one name."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
OPS = sorted(path.stem for path in (REPOSITORY / "perception" / "ops").glob("*.py") if path.stem != "__init__")
FILES = (
    "csrc/kernels/{}.h",
    "csrc/kernels/{}.cpp",
    "csrc/kernels/{}.cu",
    "csrc/torch/{}.cpp",
    "perception/ops/{}.py",
    "tests/csrc/test_{}.cpp",
    "tests/cuda_shim/test_{}.cpp",
    "tests/ops/test_{}.py",
    "benchmarks/bench_{}.py",
)
# On a GPU these are torch's own operators: see the header.
CPU_ONLY = {"fused_linear"}
CUDA_FILES = ("csrc/kernels/{}.cu", "tests/cuda_shim/test_{}.cpp")


@pytest.mark.parametrize("op", OPS)
def test_set_of_files_is_complete(op: str) -> None:
    needed = [pattern.format(op) for pattern in FILES if not (op in CPU_ONLY and pattern in CUDA_FILES)]
    missing = [path for path in needed if not (REPOSITORY / path).is_file()]
    assert not missing, f"{op} lacks {', '.join(missing)}"


def test_no_binding_is_without_an_op() -> None:
    bindings = {path.stem for path in (REPOSITORY / "csrc" / "torch").glob("*.cpp")}
    assert bindings <= set(OPS), f"no perception/ops file for {sorted(bindings - set(OPS))}"
    assert "voxelize" in bindings
