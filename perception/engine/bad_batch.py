"""A training batch on disk, with the weights that saw it: as plain tensors, so that reading it runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData
from torch import Tensor, nn

from perception.engine.checkpoints import read_checkpoint
from perception.whole_file import whole_file

_KIND = "perception bad batch 1"


def random_state() -> dict[str, Any]:
    """The state of torch's generators, of the CPU and of the present GPU."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Tensor]) -> None:
    """Set what `random_state` gave."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def tokens_of(batch: Any) -> list[str]:
    """The tokens of a batch's samples; of samples that have none, as images of mmdet, the path or the place."""
    metas = [sample.metainfo for sample in batch["data_samples"]]
    return [str(meta.get("token", meta.get("img_path", index))) for index, meta in enumerate(metas)]


def inputs_of(batch: Any) -> dict[str, list[Tensor]]:
    """{name: one tensor per sample} of a batch; mmdet's batches of images, a bare list, are named "inputs"."""
    inputs = batch["inputs"]
    return dict(inputs) if isinstance(inputs, Mapping) else {"inputs": list(inputs)}


@dataclass
class BadBatch:
    """Attributes:
    tokens: of the samples.
    inputs: {name: one tensor per sample}, as PackFrame gives them.
    boxes: per sample the boxes [K,9+] as LiDARInstance3DBoxes keeps them (bottom centre) and labels [K].
    weights: the model's state_dict. Parameters are those before the step; running statistics have seen the batch.
    random: the random state before the step.
    what: what was found not to be finite, a loss or the gradient.
    step: epoch and iteration, from 0.
    found: the first tensor that is not finite, in words.
    """

    tokens: list[str]
    inputs: dict[str, list[Tensor]]
    boxes: list[tuple[Tensor, Tensor]]
    weights: dict[str, Tensor]
    random: dict[str, Tensor]
    what: str
    step: dict[str, int]
    found: str = ""

    @classmethod
    def of(cls, model: nn.Module, batch: Any, random: Any, what: str, step: dict[str, int]) -> BadBatch:
        """What `write` needs, copied to the CPU."""
        instances = [sample.get("gt_instances_3d") for sample in batch["data_samples"]]
        known = [row for row in instances if row is not None]
        return cls(
            tokens_of(batch),
            {name: [value.detach().cpu() for value in values] for name, values in inputs_of(batch).items()},
            [(row.bboxes_3d.tensor.cpu(), torch.as_tensor(row.labels_3d).cpu()) for row in known],
            {name: value.detach().cpu().clone() for name, value in model.state_dict().items()},
            random,
            what,
            step,
        )

    def write(self, path: str | Path) -> None:
        """Write it whole or not at all."""
        with whole_file(path, "wb") as file:
            torch.save({"kind": _KIND, **vars(self)}, file)

    @classmethod
    def read(cls, path: str | Path) -> BadBatch:
        """Raises FileNotFoundError; ValueError where the file is damaged or something else."""
        content = read_checkpoint(path)
        if content.pop("kind", None) != _KIND:
            raise ValueError(f"{path} is not a batch that training stopped at")
        return cls(**content)

    def batch(self) -> dict[str, Any]:
        """The batch as the data loader gave it. Raises ValueError for one without 3D boxes, which cannot be run."""
        if len(self.boxes) != len(self.tokens):
            raise ValueError(f"samples {', '.join(self.tokens)} have no 3D boxes and cannot be run again")
        samples = []
        for token, (boxes, labels) in zip(self.tokens, self.boxes, strict=True):
            sample = Det3DDataSample(metainfo={"token": token, "lidar_aug": np.eye(4)})
            sample.gt_instances_3d = InstanceData(
                bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=boxes.shape[1]), labels_3d=labels
            )
            samples.append(sample)
        return {"inputs": self.inputs, "data_samples": samples}
