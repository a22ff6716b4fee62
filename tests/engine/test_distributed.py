"""Two processes learn what one with the doubled batch does, and score every sample once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from perception.engine.checkpoints import read_checkpoint
from perception.head.object_count import counting_alone, object_count

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def out(tiny_synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders 1 and 2 of distributed_run.py: of one process, and of two with half the batch each."""
    out = tmp_path_factory.mktemp("distributed")
    done = subprocess.run(
        [sys.executable, str(TESTS / "engine/distributed_run.py"), str(tiny_synthetic), str(out)],
        # Without a GPU: forks of a process that has trained on one cannot, and two processes need gloo.
        env={
            **os.environ,
            "PYTHONPATH": f"{TESTS.parent}:{TESTS}",
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def test_the_loss_curves_are_the_same(out: Path) -> None:
    one, two = (json.loads((out / name / "losses.json").read_text()) for name in "12")
    assert len(one) == len(two) == 3
    assert {"loss_heatmap", "loss_box", "loss_depth", "loss_semantic"} <= one[0].keys()
    assert one[-1]["loss"] < 0.995 * one[0]["loss"]  # it learns
    for step, (alone, together) in enumerate(zip(one, two, strict=True)):
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-6), step


def test_the_weights_are_the_same(out: Path) -> None:
    one, two = (read_checkpoint(out / name / "latest.pth")["state_dict"] for name in "12")
    assert one.keys() == two.keys()
    for name, value in one.items():
        # Muon may compute in bfloat16, and the first steps are of one size however small the gradient.
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=3e-4, msg=name)


def test_uneven_shards_lose_no_sample(out: Path, tiny_synthetic: Path) -> None:
    """Three samples over two processes: one of them gets a sample twice."""
    one, two = (json.loads((out / name / "test/fused/results.json").read_text())["results"] for name in "12")
    expected = [
        info["token"] for info in json.loads((tiny_synthetic / "nuscenes_infos_val.json").read_text())["data_list"]
    ]
    assert len(expected) % 2 == 1
    assert sorted(one) == sorted(two) == sorted(expected)
    scores = [json.loads((out / name / "test/metrics.json").read_text())["fused"] for name in "12"]
    assert scores[1]["NDS"] == pytest.approx(scores[0]["NDS"], abs=0.02)


def test_a_process_that_replays_a_batch_counts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def reduce(tensor: torch.Tensor) -> None:
        tensor += 10

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", reduce)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert object_count(4, torch.device("cpu")).item() == 7
    with counting_alone():
        assert object_count(4, torch.device("cpu")).item() == 4
    assert object_count(4, torch.device("cpu")).item() == 7
