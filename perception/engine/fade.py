"""The end of training on scenes as they are: no pasted objects in the last epochs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from perception.datasets.transforms.gt_paste import GTPaste


@HOOKS.register_module()
class FadeGTPaste(Hook):
    """Switches every GTPaste of the training set off for the last epochs (PointAugmenting, Wang et al., CVPR 2021).

    Pasted objects stand where objects do not, and a network that has seen them to the end reports more that are not
    there. Before each epoch the state is set from the epoch's number, so that a run which is resumed late does not
    paste again; mmdet3d's DisableObjectSampleHook acts at one epoch only. GTPaste is found inside wrapped data sets
    (RepeatDataset, CBGSDataset, ConcatDataset) and inside transforms that hold transforms.

    Args:
        last_epochs: how many epochs at the end go without.

    Raises ValueError where the training set has no GTPaste; FileNotFoundError or ValueError before the first epoch
    where its database is missing or damaged.
    """

    def __init__(self, last_epochs: int) -> None:
        if last_epochs < 0:
            raise ValueError(f"FadeGTPaste: last_epochs is {last_epochs}; it must be 0 or more")
        self.last_epochs = last_epochs

    def before_train(self, runner: Runner) -> None:
        steps = list(_find_pastes(runner.train_dataloader.dataset))
        if not steps:
            raise ValueError("FadeGTPaste: the training set's pipeline has no GTPaste; remove the hook or add the step")
        if self._pastes_in(runner):
            for step in steps:  # here, where an error is one line and workers that are forked share what was read
                step.open()

    def before_train_epoch(self, runner: Runner) -> None:
        loader = runner.train_dataloader
        enabled = self._pastes_in(runner)
        changed = [step for step in _find_pastes(loader.dataset) if step.enabled != enabled]
        for step in changed:
            step.enabled = enabled
        if changed:
            runner.logger.info(f"GTPaste is {'on' if enabled else 'off'} from epoch {runner.epoch + 1}")
            # Persistent workers keep the data set as it was when they started. A loader without its iterator starts new
            # ones for the next epoch; the old end with it. torch has no public way to do that.
            loader._iterator = None

    def _pastes_in(self, runner: Runner) -> bool:
        return runner.epoch < runner.max_epochs - self.last_epochs


def _find_pastes(node: Any) -> Iterator[GTPaste]:
    """Every GTPaste in a data set, a pipeline or a transform, however wrapped."""
    if isinstance(node, GTPaste):
        yield node
    elif isinstance(node, (list, tuple)):
        for part in node:
            yield from _find_pastes(part)
    else:
        for name in ("dataset", "datasets", "pipeline", "transforms"):
            yield from _find_pastes(getattr(node, name, ()))
