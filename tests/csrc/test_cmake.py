"""csrc builds by CMake without Python or torch, and its C++ tests pass under the address and undefined-behaviour
sanitizers: the CPU kernels (tests/csrc) and the CUDA kernels on the CPU shim (tests/cuda_shim)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS = sorted(path.stem for path in (REPOSITORY / "tests" / "csrc").glob("test_*.cpp"))
TESTS += sorted(f"{path.stem}_on_shim" for path in (REPOSITORY / "tests" / "cuda_shim").glob("test_*.cpp"))


def run(*command: str | Path) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    output = result.stdout + result.stderr
    assert result.returncode == 0, f"{' '.join(str(part) for part in command)}\n{output[-8000:]}"
    return output


@pytest.fixture(scope="module")
def build() -> tuple[str, Path]:
    """The ctest command and the build folder (PERCEPTION_CMAKE_BUILD, else build/csrc-sanitized), up to date."""
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    cmake, ctest, ninja = (shutil.which(tool, path=search) for tool in ("cmake", "ctest", "ninja"))
    if cmake is None or ctest is None:
        pytest.skip("CMake is not installed: pip install cmake")
    folder = Path(os.environ.get("PERCEPTION_CMAKE_BUILD", REPOSITORY / "build" / "csrc-sanitized"))
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    run(cmake, "-S", REPOSITORY / "csrc", "-B", folder, "-DPERCEPTION_SANITIZE=ON", *generator)
    run(cmake, "--build", folder, "--parallel", str(min(os.cpu_count() or 1, 8)))
    return ctest, folder


@pytest.mark.parametrize("name", TESTS)
def test_cpp_program(build: tuple[str, Path], name: str) -> None:
    ctest, folder = build
    output = run(ctest, "--test-dir", folder, "-R", f"^{name}$", "--output-on-failure", "--no-tests=error")
    assert "100% tests passed" in output


def test_library_needs_neither_python_nor_torch(build: tuple[str, Path]) -> None:
    _, folder = build
    library = folder / "libperception_kernels.a"
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
