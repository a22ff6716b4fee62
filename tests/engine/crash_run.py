"""Kills training runs and compares what `--resume` makes of them with a run that was left alone.

    PYTHONPATH=.:tests python tests/engine/crash_run.py --kills 20 --points all

Each run is a fork of this process, so that the libraries are imported once. `--kills` ends runs with SIGKILL at random
moments; `--points` ends them by SIGKILL at calls of fsync, rename and unlink, where files are half-way. Then the disk
"fills up": no file may grow beyond a few kilobytes once there is a checkpoint, and the kernel cuts the writing short.
The last line is JSON; the exit status is 1 where any weight or optimizer state differs in any bit.
"""

import argparse
import itertools
import json
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import Runner
from tiny_training import tiny_config, write_tiny_data
from torch.utils.tensorboard import SummaryWriter  # noqa: F401  (imported here once, not in every run)

from perception.engine.run import train
from perception.whole_file import remove_leftovers

FULL_DISK_BYTES = 32 << 10


def start(
    infos: Path, work_dir: Path, workers: int, resume: bool = False, prepare: Callable[[], None] | None = None
) -> int:
    """Start a run in a fork; returns its process id. What it prints goes to work_dir.log."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        log = os.open(f"{work_dir}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        torch.set_num_threads(1)
        if prepare is not None:
            prepare()
        train(tiny_config(infos, workers), work_dir, resume)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def finish(process: int) -> int:
    """Wait for a run; its exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def complete(infos: Path, work_dir: Path, workers: int, resume: bool) -> dict[str, Any]:
    """A run to its end; what its last checkpoint holds."""
    status = finish(start(infos, work_dir, workers, resume))
    if status:
        raise RuntimeError(f"a run ended with status {status}:\n{Path(f'{work_dir}.log').read_text()[-3000:]}")
    return torch.load(work_dir / "latest.pth", weights_only=True)


def same(one: Any, other: Any) -> bool:
    """Equal in every bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def trained(checkpoint: dict[str, Any]) -> dict[str, Any]:
    return {key: checkpoint[key] for key in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers")}


def die_at(point: int) -> Callable[[], None]:
    """Kill this process before its `point`th call that makes a file last, takes a place or goes away."""

    def install() -> None:
        calls = itertools.count()
        for name in ("fsync", "replace", "unlink"):
            original = getattr(os, name)

            def counted(*args: Any, original: Any = original, **kwargs: Any) -> Any:
                if next(calls) == point:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*args, **kwargs)

            setattr(os, name, counted)

    return install


def fill_disk_after_a_checkpoint(work_dir: Path) -> Callable[[], None]:
    """From the first checkpoint on, no file of this process may grow beyond FULL_DISK_BYTES."""

    def watch() -> None:
        while not (work_dir / "last_checkpoint").is_file():
            time.sleep(0.002)
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_DISK_BYTES, resource.RLIM_INFINITY))

    return lambda: threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="runs killed at a random moment (default: %(default)s)")
    parser.add_argument("--points", default="4", help="runs killed at file operations: a number, or all")
    parser.add_argument("--workers", type=int, default=0, help="data workers of each run (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, differing, killed = random.Random(args.seed), [], 0
    # Describing the machine (compilers, libraries) at the start of a run takes longer than the run.
    Runner._log_env = lambda *args: None
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        infos = write_tiny_data(root / "data")
        began = time.perf_counter()
        reference = trained(complete(infos, root / "reference", args.workers, resume=False))
        run_s = time.perf_counter() - began
        if not same(reference, trained(complete(infos, root / "again", args.workers, resume=False))):
            raise RuntimeError("two runs left alone differ: nothing can be said about resumed ones")

        for index in range(args.kills):
            work_dir = root / f"killed{index}"
            process = start(infos, work_dir, args.workers)
            time.sleep(rng.uniform(0, run_s))
            os.kill(process, signal.SIGKILL)
            killed += finish(process) == -signal.SIGKILL
            if not same(reference, trained(complete(infos, work_dir, args.workers, resume=True))):
                differing.append(work_dir.name)

        points = itertools.count() if args.points == "all" else rng.sample(range(20), int(args.points))
        at_points = 0
        for point in points:
            work_dir = root / f"point{point}"
            if finish(start(infos, work_dir, args.workers, prepare=die_at(point))) == 0:
                break  # the run has fewer such calls
            at_points += 1
            if not same(reference, trained(complete(infos, work_dir, args.workers, resume=True))):
                differing.append(work_dir.name)
            if any(work_dir.glob(".*.tmp")):
                differing.append(f"{work_dir.name}: left half-written files")

        full = root / "full"
        stopped = finish(start(infos, full, args.workers, prepare=fill_disk_after_a_checkpoint(full)))
        message = Path(f"{full}.log").read_text()
        remove_leftovers(full)
        kept = sorted(path.name for path in full.glob("*.pth"))
        if not same(reference, trained(complete(infos, full, args.workers, resume=True))):
            differing.append("full disk")
    print(
        json.dumps(
            {
                "run_s": round(run_s, 2),
                "killed": killed,
                "too_late": args.kills - killed,
                "killed_at_points": at_points,
                "full_disk": {"status": stopped, "kept": kept, "named": "cannot be written" in message},
                "differing": differing,
            }
        )
    )
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
