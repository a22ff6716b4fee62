"""Every CUDA source compiles for sm_80, sm_90 and sm_100 with nvcc alone, and no kernel spills registers."""

from pathlib import Path

import pytest

from benchmarks.cuda_registers import ARCHITECTURES, KERNELS, KernelUse, find_nvcc, measure, parse_ptxas

SOURCES = sorted(KERNELS.glob("*.cu"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_source_compiles_without_spills(source: Path) -> None:
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("nvcc is not installed: the CUDA sources are not compiled here")
    uses = measure(nvcc, [source])
    assert {use.architecture for use in uses} == set(ARCHITECTURES)
    spilling = [f"{use.kernel} {use.architecture}: {use.spill_bytes} bytes" for use in uses if use.spill_bytes > 0]
    assert not spilling, f"{source.name} spills: {spilling}"


def test_parse_ptxas() -> None:
    text = """ptxas info    : Compiling entry function '_Z1fv' for 'sm_90'
ptxas info    : Function properties for _Z1fv
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 512 bytes smem
"""
    assert parse_ptxas(text, "f.cu", "sm_90") == [KernelUse("f.cu", "sm_90", "_Z1fv", 255, 512, 16, 20)]
