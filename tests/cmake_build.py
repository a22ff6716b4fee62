"""The CMake build of csrc under sanitizers, which several tests run programs of."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


class SanitizedBuild(NamedTuple):
    """The build folder, and the ctest that goes with it."""

    folder: Path
    ctest: str

    def check(self, name: str) -> None:
        """Run one of its tests; fails with the program's output."""
        output = run(
            self.ctest, "--test-dir", self.folder, "-R", f"^{name}$", "--output-on-failure", "--no-tests=error"
        )
        assert "100% tests passed" in output


def run(*command: str | Path) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    output = result.stdout + result.stderr
    assert result.returncode == 0, f"{' '.join(str(part) for part in command)}\n{output[-8000:]}"
    return output


def build_sanitized(*targets: str) -> SanitizedBuild:
    """Build these targets (without any, all) into PERCEPTION_CMAKE_BUILD, else build/csrc-sanitized; what is up to date
    is kept. One process at a time."""
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    cmake, ctest, ninja = (shutil.which(tool, path=search) for tool in ("cmake", "ctest", "ninja"))
    if cmake is None or ctest is None:
        pytest.skip("CMake is not installed: pip install cmake")
    folder = Path(os.environ.get("PERCEPTION_CMAKE_BUILD", REPOSITORY / "build" / "csrc-sanitized"))
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    chosen = ["--target", *targets] if targets else []
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(cmake, "-S", REPOSITORY / "csrc", "-B", folder, "-DPERCEPTION_SANITIZE=ON", *generator)
        run(cmake, "--build", folder, "--parallel", str(min(os.cpu_count() or 1, 8)), *chosen)
    return SanitizedBuild(folder, ctest)
