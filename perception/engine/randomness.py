"""Random numbers that a resumed run draws again."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import torch
from mmengine.dataset import worker_init_fn
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds every epoch by the run's seed, the rank and the epoch's number alone.

    A run that goes on from epoch N then draws what the uninterrupted one drew, in the network, in the augmentation and
    in the data workers. These start anew with every epoch and take their seeds from the process that starts them;
    mmengine seeds them with the same numbers every time.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        loader = runner.train_dataloader
        seed_all(runner.seed, runner.rank, runner.epoch)
        if isinstance(loader.worker_init_fn, partial) and loader.worker_init_fn.func is worker_init_fn:
            loader.worker_init_fn = None
        loader._iterator = None  # persistent workers of the last epoch; torch has no public way to end them


def seed_all(seed: int, rank: int, epoch: int) -> None:
    """Seed Python, numpy and torch (every device) by three numbers."""
    number, small = np.random.SeedSequence((seed, rank, epoch)).generate_state(2, np.uint64)
    random.seed(int(number))
    np.random.seed(int(small) % 2**32)  # noqa: NPY002  (transforms of mmdet3d draw from it)
    torch.manual_seed(int(number) % 2**63)
