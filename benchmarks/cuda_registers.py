"""Compiles every csrc/kernels/*.cu with nvcc and reports registers, shared memory and spills of every kernel.

    python benchmarks/cuda_registers.py            # writes benchmarks/results/cuda_registers.md

Needs nvcc, no GPU. Compiled files are kept under build/cubin by a hash of what went into them.
"""

import argparse
import datetime
import hashlib
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
KERNELS = REPOSITORY / "csrc" / "kernels"
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
FLAGS = ("-O3", "-std=c++20", "--expt-relaxed-constexpr", "-Xptxas", "-v", "-cubin")


@dataclass(frozen=True)
class KernelUse:
    """What one kernel takes of a multiprocessor, as ptxas reports it."""

    source: str
    architecture: str
    kernel: str  # demangled, with template arguments, without parameters
    registers: int
    shared_bytes: int  # static
    stack_bytes: int
    spill_bytes: int  # stores + loads


def find_nvcc() -> str | None:
    """Path of nvcc: on PATH, else under CUDA_HOME or /usr/local/cuda; None where there is none."""
    home = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    return shutil.which("nvcc") or shutil.which("nvcc", path=str(home / "bin"))


def nvcc_version(nvcc: str) -> str:
    """Like "13.0.88"."""
    text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"V(\d+\.\d+\.\d+)", text)
    return match.group(1) if match else text.strip().splitlines()[-1]


def compile_cubin(nvcc: str, source: Path, architecture: str, cache: Path = REPOSITORY / "build" / "cubin") -> str:
    """Compiles one source for one architecture. Returns what ptxas printed; raises RuntimeError with nvcc's errors."""
    digest = hashlib.sha256(" ".join((nvcc_version(nvcc), architecture, *FLAGS)).encode())
    for path in (source, *sorted(KERNELS.glob("*.h")), *sorted(KERNELS.glob("*.cuh"))):
        digest.update(path.read_bytes())
    log = cache / f"{source.stem}-{architecture}-{digest.hexdigest()[:16]}.txt"
    if log.is_file():
        return log.read_text()
    cache.mkdir(parents=True, exist_ok=True)
    command = [
        nvcc,
        *FLAGS,
        f"-arch={architecture}",
        "-I",
        str(KERNELS),
        str(source),
        "-o",
        str(log.with_suffix(".cubin")),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{source.name} for {architecture}:\n{result.stdout}{result.stderr}")
    log.write_text(result.stdout + result.stderr)
    return log.read_text()


def parse_ptxas(text: str, source: str, architecture: str) -> list[KernelUse]:
    """One KernelUse per entry function in the output of ptxas -v."""
    uses = []
    for entry in re.split(r"Compiling entry function '", text)[1:]:
        spills = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", entry)
        registers = re.search(r"Used (\d+) registers", entry)
        if spills is None or registers is None:
            raise ValueError(f"{source} for {architecture}: no register count in the output of ptxas: {entry[:200]}")
        shared = re.search(r"(\d+) bytes smem", entry)
        uses.append(
            KernelUse(
                source,
                architecture,
                entry.split("'")[0],
                int(registers.group(1)),
                int(shared.group(1)) if shared else 0,
                int(spills.group(1)),
                int(spills.group(2)) + int(spills.group(3)),
            )
        )
    return uses


def demangle(nvcc: str, names: list[str]) -> list[str]:
    """C++ names without parameters and the project's namespace; the names themselves where no demangler is found."""
    tool = shutil.which("cu++filt", path=str(Path(nvcc).resolve().parent)) or shutil.which("c++filt")
    if tool is None or not names:
        return names
    text = subprocess.run([tool, *names], capture_output=True, text=True, check=True).stdout
    plain = [line.replace("perception::", "").replace("(anonymous namespace)::", "") for line in text.splitlines()]
    return [
        re.sub(r"^void ", "", re.sub(r"\(.*$", "", re.sub(r"\((?:int|bool|unsigned int|long)\)", "", n))) for n in plain
    ]


def measure(nvcc: str, sources: list[Path], jobs: int = 2) -> list[KernelUse]:
    """Compiles the sources for all architectures and returns what every kernel uses."""
    tasks = [(source, architecture) for source in sources for architecture in ARCHITECTURES]
    with ThreadPoolExecutor(jobs) as pool:
        logs = pool.map(lambda task: compile_cubin(nvcc, *task), tasks)
        uses = [
            use for (source, arch), log in zip(tasks, logs, strict=True) for use in parse_ptxas(log, source.name, arch)
        ]
    names = demangle(nvcc, [use.kernel for use in uses])
    return [KernelUse(**{**vars(use), "kernel": name}) for use, name in zip(uses, names, strict=True)]


def report(uses: list[KernelUse], version: str) -> str:
    """The table as Markdown."""
    lines = [
        "# Registers and spills of the CUDA kernels",
        "",
        f"{datetime.date.today().isoformat()}, nvcc {version}, flags `{' '.join(FLAGS)}`. "
        "`python benchmarks/cuda_registers.py` writes this file.",
        "",
        f"Numbers are for {' / '.join(ARCHITECTURES)}.",
        "",
        "| source | kernel | registers | static shared, bytes | stack, bytes | spills, bytes |",
        "|---|---|---:|---:|---:|---:|",
    ]
    by_kernel: dict[tuple[str, str], dict[str, KernelUse]] = {}
    for use in uses:
        by_kernel.setdefault((use.source, use.kernel), {})[use.architecture] = use
    for (source, kernel), per_architecture in sorted(by_kernel.items()):
        rows = [per_architecture[architecture] for architecture in ARCHITECTURES]
        fields = ("registers", "shared_bytes", "stack_bytes", "spill_bytes")
        cells = [" / ".join(str(getattr(use, field)) for use in rows) for field in fields]
        lines.append(f"| {source} | `{kernel}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Register and spill report of the CUDA kernels")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "benchmarks" / "results" / "cuda_registers.md")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    nvcc = find_nvcc()
    if nvcc is None:
        print("nvcc is not installed: install the CUDA toolkit, or set CUDA_HOME", file=sys.stderr)
        return 2
    uses = measure(nvcc, sorted(KERNELS.glob("*.cu")), args.jobs)
    args.out.write_text(report(uses, nvcc_version(nvcc)))
    spilling = [use for use in uses if use.spill_bytes > 0]
    print(f"{args.out}: {len(uses)} kernels, {len(spilling)} spill")
    for use in spilling:
        print(f"  {use.source} {use.kernel} {use.architecture}: {use.spill_bytes} bytes")
    return 1 if spilling else 0


if __name__ == "__main__":
    sys.exit(main())
