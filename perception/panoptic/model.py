"""The panoptic network as a model of mmengine's Runner."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor

from perception.camera.panoptic import PanopticNetwork
from perception.camera.panoptic_head import merge_masks
from perception.camera.panoptic_loss import PanopticLoss
from perception.camera.pseudo_masks import Targets
from perception.engine.build import build


class PanopticPreprocessor(BaseDataPreprocessor):
    """Stacks the dataset's images [3,H,W] uint8 to [M,3,H,W] on the model's device."""

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        data = self.cast_data(data)
        return {"inputs": torch.stack(list(data["inputs"])), "data_samples": data["data_samples"]}


class PanopticSegmenter(BaseModel):
    """Losses and predictions over data samples.

    Args:
        network: the network, or its config.
        loss: its loss, or its config.
        supervision: "points" learns from pseudo masks, "masks" from the true ones.
    """

    def __init__(
        self,
        network: PanopticNetwork | dict[str, Any],
        loss: PanopticLoss | dict[str, Any],
        supervision: str = "points",
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor or {"type": PanopticPreprocessor}, init_cfg)
        if supervision not in ("points", "masks"):
            raise ValueError(f"supervision must be 'points' or 'masks', got {supervision!r}")
        self.network: PanopticNetwork = build(network)
        self.criterion: PanopticLoss = build(loss)
        self.supervision = supervision

    def forward(self, inputs: Tensor, data_samples: list[BaseDataElement] | None = None, mode: str = "tensor") -> Any:
        """Images [M,3,H,W] uint8: the head's output, losses by name, or samples with their segments."""
        output = self.network(inputs)
        if mode == "tensor" or data_samples is None:
            return output
        if mode == "loss":
            points = [sample.points for sample in data_samples]
            truth = [Targets(sample.labels, sample.index) for sample in data_samples]
            return self.criterion(output, inputs, points, truth, self.supervision == "masks")
        image_hw = (inputs.shape[-2], inputs.shape[-1])
        for sample, segments in zip(data_samples, merge_masks(output, image_hw), strict=True):
            labels = segments.label.tolist()
            # Numbers from 1; 0 is void. Category ids are those of `categories()`.
            found = (segments.segment + 1).cpu().numpy().astype(np.int64)
            sample.set_field(found, "found")
            sample.set_field({k + 1: label + 1 for k, label in enumerate(labels)}, "categories")
        return data_samples
