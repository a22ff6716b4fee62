"""Two processes learn what one with the doubled batch does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_training import write_tiny_data

RUN = Path(__file__).parent / "distributed_run.py"
REPOSITORY = RUN.parents[2]


def run(*words: object) -> None:
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")])
    # Over the loopback interface: the machine's name may lead nowhere.
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, *map(str, words)], env=environment, capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_learn_what_one_with_the_doubled_batch_does(tmp_path: Path) -> None:
    infos = write_tiny_data(tmp_path / "data")
    run(RUN, infos, tmp_path / "one", 2)
    run("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, RUN, infos, tmp_path / "two", 1,
        "--launcher", "pytorch")  # fmt: skip
    one, two = (json.loads((tmp_path / name / "losses.json").read_text()) for name in ("one", "two"))
    assert len(one) == len(two) == 6 and one[0] != one[-1]
    assert two == pytest.approx(one, rel=1e-4)
    weights = [torch.load(tmp_path / name / "latest.pth", weights_only=True)["state_dict"] for name in ("one", "two")]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-4, msg=name)
