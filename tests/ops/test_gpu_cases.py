"""The cases that benchmarks/gpu.py measures, small and on the CPU: both forms of every op agree."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.gpu_cases import Case, cases

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def small_cases() -> dict[str, Case]:
    torch.manual_seed(0)
    return {case.name.split(" ")[0]: case for case in cases("cpu", small=True)}


@pytest.mark.parametrize(
    "name",
    [
        "voxelize",
        "segment_reduce",
        "window_partition",
        "window_attention",
        "bev_pool",
        "sparse_to_bev",
        "nms_bev",
        "points_in_boxes",
    ],
)
def test_forms_agree(small_cases: dict[str, Case], name: str) -> None:
    case = small_cases[name]
    ours = case.ours()
    assert ours.numel() > 0
    for form in (case.other, *case.others.values()):
        other = form()
        assert other.shape == ours.shape
        difference = (ours.double() - other.double()).abs().max()
        assert difference <= case.tolerance * other.double().abs().max()
    assert case.moved_bytes > 0


def test_no_case_is_left_out(small_cases: dict[str, Case]) -> None:
    assert len(small_cases) == 8


@pytest.fixture
def gpu_script() -> Iterator[object]:
    """benchmarks/gpu.py, which finds its neighbours as a script does."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import gpu

        yield gpu
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_without_a_gpu_the_script_says_so(
    gpu_script: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert gpu_script.main() == 2
    assert "no GPU" in capsys.readouterr().err
