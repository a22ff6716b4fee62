"""Runs that are killed or find the disk full go on to the weights of a run left alone, bit for bit.

The long form, twenty random moments and every file operation, is `tests/engine/crash_run.py --kills 20 --points all`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from perception.engine.checkpoints import latest_checkpoint
from perception.whole_file import remove_leftovers, whole_file

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def outcome() -> dict[str, Any]:
    """One process for all of it: importing the libraries takes longer than the runs."""
    done = subprocess.run(
        [sys.executable, str(TESTS / "engine/crash_run.py"), "--kills", "1", "--points", "1", "--seed", "1"],
        env={**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_killed_runs_resume_to_the_same_weights(outcome: dict[str, Any]) -> None:
    assert outcome["differing"] == []
    assert outcome["killed"] + outcome["too_late"] == 1 and outcome["killed_at_points"] == 1


def test_a_full_disk_loses_no_earlier_checkpoint(outcome: dict[str, Any]) -> None:
    full = outcome["full_disk"]
    assert full["status"] == 1 and full["named"]
    assert full["kept"] == ["epoch_1.pth"]


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), whole_file(path) as file:
        file.write("new")
        raise OSError("full")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for process in (dead.pid, os.getpid()):
        (tmp_path / f".a.pth.{process}.tmp").touch()
    (tmp_path / ".notes.tmp").touch()
    assert [path.name for path in remove_leftovers(tmp_path)] == [f".a.pth.{dead.pid}.tmp"]
    assert sorted(os.listdir(tmp_path)) == [f".a.pth.{os.getpid()}.tmp", ".notes.tmp"]


def test_the_latest_checkpoint_is_the_newest_that_can_be_read(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    for epoch in (2, 9, 10):
        torch.save({"state_dict": {}, "epoch": epoch}, tmp_path / f"epoch_{epoch}.pth")
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_10.pth"
    (tmp_path / "last_checkpoint").write_text("/elsewhere/before/it/moved/epoch_9.pth")
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_9.pth"
    for damage in ("", "epoch_3.pth", "\0"):
        (tmp_path / "last_checkpoint").write_text(damage)
        assert latest_checkpoint(tmp_path) == tmp_path / "epoch_10.pth"
    whole = (tmp_path / "epoch_10.pth").read_bytes()
    (tmp_path / "epoch_10.pth").write_bytes(whole[: len(whole) // 2])
    assert latest_checkpoint(tmp_path) == tmp_path / "epoch_9.pth"
    for epoch in (2, 9, 10):
        (tmp_path / f"epoch_{epoch}.pth").write_bytes(b"damaged")
    (tmp_path / "last_checkpoint").unlink()
    with pytest.raises(ValueError, match="none of the 3 checkpoints"):
        latest_checkpoint(tmp_path)
