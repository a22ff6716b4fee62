"""Training stops at the first number that is none, says where it came from and keeps the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from perception.engine.bad_batch import BadBatch, random_state
from perception.engine.first_bad import bad_input, first_bad


class NotFiniteError(FloatingPointError):
    """A loss or a gradient is NaN or infinite; the message says which, of which samples, and how to replay it."""


@HOOKS.register_module()
class FiniteGuard(Hook):
    """Checks every batch, every loss and the gradients of every step before the weights change.

    One reduction over the inputs, the losses and the gradients is all it costs, until one is not finite. Then the batch
    is run again with an eye on every module (`first_bad`), written to work_dir/bad_batch.pth with the weights and the
    random state, and NotFiniteError is raised. `tools/train.py CONFIG --replay FILE` runs it once more.

    A step that float16's loss scaling skips is not one: the guard looks where the optimizer really steps.
    """

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._handles: list[Any] = []

    def before_train(self, runner: Runner) -> None:
        self._runner, self._batch, self._random = runner, None, random_state()
        self._model: BaseModel = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._handles = [
            self._model.register_forward_hook(self._check_losses),
            runner.optim_wrapper.optimizer.register_step_pre_hook(self._check_gradients),
        ]

    def after_train(self, runner: Runner) -> None:
        self._remove()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._batch, self._random = data_batch, random_state()
        # Here, as a loss may pass over a box that is nowhere, and a network refuse points that are.
        if bad_input(data_batch):
            self._stop("the batch")

    def _check_losses(self, model: nn.Module, args: Any, output: Any) -> None:
        if not model.training or not isinstance(output, dict):
            return
        losses = [v for value in output.values() for v in (value if isinstance(value, (list, tuple)) else [value])]
        total = torch.stack([v.detach().float().sum() for v in losses if isinstance(v, Tensor)]).sum()
        if not torch.isfinite(total):
            self._stop("a loss")

    def _check_gradients(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if gradients and not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            self._stop("the gradient")

    def _stop(self, what: str) -> None:
        self._remove()
        runner = self._runner
        step = {"epoch": runner.epoch, "iteration": runner.iter}
        bad = BadBatch.of(self._model, self._batch, self._random, what, step)
        found = first_bad(self._model, self._batch, runner.optim_wrapper, self._random)
        bad.found = found or f"{what} is not finite, but running the batch again is"
        path = Path(runner.work_dir) / ("bad_batch.pth" if runner.rank == 0 else f"bad_batch_rank{runner.rank}.pth")
        bad.write(path)
        raise NotFiniteError(
            f"{bad.found} (epoch {runner.epoch + 1}, iteration {runner.iter + 1}, samples {', '.join(bad.tokens)}); "
            f"batch and weights are in {path}: run them again with tools/train.py CONFIG --replay {path}"
        )

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
