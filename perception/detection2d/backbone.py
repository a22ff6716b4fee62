"""The trident backbone as mmdet's detectors hold one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from perception.camera.trident import TridentResNet


@MODELS.register_module()
class TridentBackbone(TridentResNet):
    """TridentResNet that gives its last map, branches in the batch, and can hold weights and statistics still.

    Args:
        frozen_stages: as mmdet's ResNet counts: -1 trains all, 0 holds the stem still, 1 layer1 too, and so on.
        norm_eval: keep batch norms at their running statistics, as fine-tuning with few images per GPU needs.
        frozen_norms: do not train the norms' weights either (mmdet's norm_cfg requires_grad=False).
        kwargs: of TridentResNet.
    """

    def __init__(
        self, frozen_stages: int = -1, norm_eval: bool = False, frozen_norms: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.norm_eval = norm_eval
        stages = [nn.ModuleList([self.conv1, self.bn1]), *(self.get_submodule(f"layer{i}") for i in range(1, 4))]
        if not -1 <= frozen_stages < len(stages):
            raise ValueError(f"frozen_stages must be -1..{len(stages) - 1}, got {frozen_stages}")
        self.frozen = stages[: frozen_stages + 1]  # a list: a second registration would name the weights twice
        for stage in self.frozen:
            stage.requires_grad_(False)
        if frozen_norms:
            for norm in self._norms():
                norm.requires_grad_(False)
        self.train()

    def _norms(self) -> list[nn.BatchNorm2d]:
        return [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]

    def train(self, mode: bool = True) -> TridentBackbone:
        super().train(mode)
        for stage in self.frozen:
            stage.eval()
        if mode and self.norm_eval:
            for norm in self._norms():
                norm.eval()
        return self

    def forward(self, images: Tensor, branches: Sequence[int] | None = None) -> tuple[Tensor, ...]:  # type: ignore[override]
        """images [B,3,H,W], normalised -> one map [R*B,C,h,w], branch-major: all images of the first branch, then the
        next. `branches` as TridentResNet takes them."""
        images = images.contiguous(memory_format=torch.channels_last)
        return (super().forward(images, branches)[-1].flatten(0, 1),)
