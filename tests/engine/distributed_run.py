"""Trains and scores in one process, then in two with half the batch each, and writes down what each saw.

    PYTHONPATH=.:tests python tests/engine/distributed_run.py DATAROOT OUT

The two are forks of this process, which then has every library imported, with the environment that torchrun gives them.
Norms keep their statistics, since a batch norm sees its own process alone, and nothing is random but the order of the
samples. OUT/<processes>/losses.json holds the mean over the processes of every loss of every step.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

from perception.datasets.transforms import BEVAugment, ImageAugment, ModalityDropout
from perception.engine.run import evaluate, load_config, train

CONFIG = Path(__file__).resolve().parents[2] / "configs/demo_fusion.py"
BATCH, EPOCHS, IMAGE_HW = 2, 3, (64, 128)
PORT = "29511"


@HOOKS.register_module()
class KeepLosses(Hook):
    """Keeps the losses of every step, and holds batch norms still."""

    def before_train(self, runner: Any) -> None:
        self.losses: list[dict[str, float]] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        for module in runner.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        means = {name: value.detach().clone() for name, value in outputs.items()}
        for value in means.values():
            all_reduce(value, "mean")
        self.losses.append({name: value.item() for name, value in means.items()})

    def after_train(self, runner: Any) -> None:
        if is_main_process():
            Path(runner.work_dir, "losses.json").write_text(json.dumps(self.losses))


def small_config(dataroot: Path, batch_size: int) -> Config:
    """The demo with coarse cells and small images, without augmentation and mixed precision, at a low constant rate."""
    grids = ("lidar.voxel_encoder.grid", "camera.lift.grid", "head.grid")
    config = load_config(
        CONFIG,
        {
            **{f"model.network.{grid}.cell_m": (3.2, 3.2, 8.0) for grid in grids},
            "model.loss.grid.cell_m": (3.2, 3.2, 8.0),
            "model.network.lidar.backbone.grid": (1, 32, 32),
            "model.network.without_lidar": 0.0,
            "model.network.second_stage.crop_variation": 0.0,
            "model.network.second_stage.crop_dropout": 0.0,
            "train_dataloader.dataset.ann_file": str(dataroot / "nuscenes_infos_train.json"),
            "test_dataloader.dataset.ann_file": str(dataroot / "nuscenes_infos_val.json"),
            "test_dataloader.num_workers": 0,
            "train_dataloader.batch_size": batch_size,
            "train_cfg.max_epochs": EPOCHS,
            "optim_wrapper.type": "mmengine.optim.OptimWrapper",
            # Without batch norms a higher rate is chaos, which magnifies the last bits until another candidate comes to
            # the second stage.
            "optim_wrapper.optimizer.lr": 3e-4,
        },
    )
    config.param_scheduler = None
    config.train_dataloader.dataset.indices = BATCH  # so many samples: one step an epoch
    config.custom_hooks.append({"type": "KeepLosses"})  # a class of the main script has no name in a config
    for loader in (config.train_dataloader, config.test_dataloader):
        steps = [step for step in loader.dataset.pipeline if step["type"] not in (BEVAugment, ModalityDropout)]
        small = {"type": "perception.datasets.transforms.ImageAugment", "size_hw": IMAGE_HW}
        loader.dataset.pipeline = [small if step["type"] is ImageAugment else step for step in steps]
    return config


def run(dataroot: Path, out: Path, processes: int) -> None:
    launcher = "pytorch" if processes > 1 else "none"
    checkpoint = train(small_config(dataroot, BATCH // processes), out, launcher=launcher)
    evaluate(small_config(dataroot, 1), checkpoint, out / "test", launcher=launcher)


def fork(body: Callable[[], None], environment: dict[str, str]) -> int:
    """Run `body` in a fork; returns its process id. Its status is 1 where it raises."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.environ.update(environment)
        body()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> int:
    dataroot, out = map(Path, sys.argv[1:])
    # Describing the machine (compilers, libraries) at the start of a run takes longer than the run.
    Runner._log_env = lambda *args: None
    torch.set_num_threads(1)
    run(dataroot, out / "1", 1)
    # Over the loopback interface: the machine's name may lead nowhere.
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": PORT, "GLOO_SOCKET_IFNAME": "lo", "WORLD_SIZE": "2"}
    started = [fork(partial(run, dataroot, out / "2", 2), {**meeting, "RANK": r, "LOCAL_RANK": r}) for r in "01"]
    return int(any([os.waitpid(process, 0)[1] for process in started]))


if __name__ == "__main__":
    sys.exit(main())
