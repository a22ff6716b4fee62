"""A short training whose loss curve does not depend on how its batches are shared among processes.

    [torchrun --nproc-per-node 2] distributed_run.py INFO_FILE WORK_DIR BATCH_SIZE [--launcher pytorch]

Norms keep their statistics, since a batch norm sees its own process alone, and nothing is random but the order of the
samples. The first process writes WORK_DIR/losses.json: of every step, the mean over the processes.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from tiny_training import tiny_config
from torch.nn.modules.batchnorm import _BatchNorm

from perception.datasets.transforms import BEVAugment
from perception.engine.run import train


@HOOKS.register_module()
class KeepLosses(Hook):
    """Writes the loss of every step, and holds batch norms still."""

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        for module in runner.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()

    def before_train(self, runner: Any) -> None:
        self.losses: list[float] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        loss = outputs["loss"].detach().clone()
        all_reduce(loss, "mean")
        self.losses.append(loss.item())

    def after_train(self, runner: Any) -> None:
        if get_rank() == 0:
            Path(runner.work_dir, "losses.json").write_text(json.dumps(self.losses))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("infos", type=Path)
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("batch_size", type=int)
    parser.add_argument("--launcher", default="none")
    args = parser.parse_args()
    torch.set_num_threads(1)
    options = {
        "train_dataloader.batch_size": args.batch_size,
        "optim_wrapper.type": "mmengine.optim.OptimWrapper",
        # Without batch norms a higher rate is chaos, which magnifies the last bits.
        "optim_wrapper.optimizer.lr": 1e-4,
        "param_scheduler.0.eta_max": 1e-4,
    }
    config = tiny_config(args.infos, **options)
    pipeline = config.train_dataloader.dataset.pipeline
    config.train_dataloader.dataset.pipeline = [step for step in pipeline if step["type"] is not BEVAugment]
    config.custom_hooks.append({"type": "KeepLosses"})  # a class of the main script has no name in a config
    train(config, args.work_dir, launcher=args.launcher)


if __name__ == "__main__":
    main()
