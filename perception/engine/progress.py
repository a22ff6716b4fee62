"""Progress bars of training and testing, on a terminal; elsewhere the log's lines are enough."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from tqdm import tqdm


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """A bar over all training iterations, and one over the frames of each test or validation."""

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self._bars: dict[str, tqdm[Any]] = {}

    def before_train(self, runner: Runner) -> None:
        self._open("train", runner.max_iters, runner.iter)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        loss = runner.message_hub.get_scalar("train/loss").current() if isinstance(outputs, dict) else None
        if loss is not None:
            self._bars["train"].set_postfix(loss=f"{loss:.2f}", refresh=False)
        self._bars["train"].update()

    def after_train(self, runner: Runner) -> None:
        self._close("train")

    def before_val_epoch(self, runner: Runner) -> None:
        self._open("val", len(runner.val_dataloader))

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._bars["val"].update()

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        self._close("val")

    def before_test_epoch(self, runner: Runner) -> None:
        self._open("test", len(runner.test_dataloader))

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._bars["test"].update()

    def after_test_epoch(self, runner: Runner, metrics: Any = None) -> None:
        self._close("test")

    def _open(self, name: str, total: int, done: int = 0) -> None:
        self._bars[name] = tqdm(desc=name, total=total, initial=done, unit="step", disable=None, dynamic_ncols=True)

    def _close(self, name: str) -> None:
        self._bars.pop(name).close()
