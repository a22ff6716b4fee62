"""csrc builds by CMake without Python or torch, and its C++ tests pass under the address and undefined-behaviour
sanitizers: the CPU kernels (tests/csrc) and the CUDA kernels on the CPU shim (tests/cuda_shim)."""

import shutil
from pathlib import Path

import pytest
from cmake_build import SanitizedBuild, build_sanitized, run

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS = sorted(path.stem for path in (REPOSITORY / "tests" / "csrc").glob("test_*.cpp"))
TESTS += sorted(f"{path.stem}_on_shim" for path in (REPOSITORY / "tests" / "cuda_shim").glob("test_*.cpp"))


@pytest.fixture(scope="module")
def sanitized_build() -> SanitizedBuild:
    return build_sanitized()


@pytest.mark.parametrize("name", TESTS)
def test_cpp_program(sanitized_build: SanitizedBuild, name: str) -> None:
    sanitized_build.check(name)


def test_library_needs_neither_python_nor_torch(sanitized_build: SanitizedBuild) -> None:
    library = sanitized_build.folder / "libperception_kernels.a"
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm is not installed: apt install binutils")
    undefined = run(nm, "--undefined-only", "--demangle", library)
    for foreign in ("at::", "c10::", "torch::", "Py_", "PyObject"):
        assert foreign not in undefined, f"{library.name} refers to {foreign}"


def test_kernels_do_not_mention_torch() -> None:
    for path in sorted((REPOSITORY / "csrc" / "kernels").iterdir()):
        includes = [line for line in path.read_text().splitlines() if line.lstrip().startswith("#include")]
        assert not any(word in line for line in includes for word in ("torch", "ATen", "c10", "Python.h")), path.name
