"""A folder takes one training at a time, and is free again when a run is killed, whatever its workers do."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_training import tiny_config, write_tiny_data

from perception.engine.folder_lock import locked
from perception.engine.run import train

# Holds a folder, with a worker that outlives it.
HOLDER = """
import os, sys, time
from perception.engine.folder_lock import locked
with locked(sys.argv[1]):
    if os.fork() == 0:
        time.sleep(120)
        os._exit(0)
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_second_training_in_a_folder_is_refused(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    config = tiny_config(write_tiny_data(tmp_path / "data"))
    with pytest.raises(BlockingIOError, match=r"another process is training in .*run: .* another --work-dir"):
        train(config, tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.pth"))


def test_a_killed_holder_lets_go_while_its_worker_lives(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with locked(tmp_path / "run"):
        pass


def test_a_file_system_without_locks_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.warns(UserWarning, match="nothing keeps a second training out of"), locked(tmp_path):
        pass
