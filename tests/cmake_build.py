"""The CMake build of csrc, which several tests run programs of under sanitizers."""

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
    folder = Path(os.environ.get("PERCEPTION_CMAKE_BUILD", REPOSITORY / "build" / "csrc-sanitized"))
    build(folder, "-DPERCEPTION_SANITIZE=ON", *targets)
    return SanitizedBuild(folder, find("ctest"))


def build(folder: Path, option: str, *targets: str) -> None:
    """Configure csrc with an option and build these targets (without any, all) into a folder. Skips without CMake."""
    ninja = find("ninja", needed=False)
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    chosen = ["--target", *targets] if targets else []
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(find("cmake"), "-S", REPOSITORY / "csrc", "-B", folder, option, *generator)
        run(find("cmake"), "--build", folder, "--parallel", str(min(os.cpu_count() or 1, 8)), *chosen)


def find(tool: str, needed: bool = True) -> str:
    """A program beside this interpreter or on PATH. Skips where one that is needed is not installed."""
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    path = shutil.which(tool, path=search)
    if path is None and needed:
        pytest.skip(f"{tool} is not installed: pip install cmake")
    return path or ""
