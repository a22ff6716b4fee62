"""The network as an mmdet3d detector: losses and predictions over data samples, for mmengine's Runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import perception.engine  # noqa: F401  (mmdet3d imports on mmcv-lite after this)

# isort: split
from mmdet3d.models.detectors import Base3DDetector
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import InstanceData

from perception.camera.panoptic_loss import PanopticLoss
from perception.camera.panoptic_points import frame_points
from perception.camera.rows import present_rows
from perception.camera.supervision import image_losses
from perception.engine.build import build
from perception.engine.checkpoints import load_backbone, load_part, network_part
from perception.engine.test_time import TestTimeViews
from perception.head.center_targets import CenterLoss
from perception.head.query_loss import QueryLoss
from perception.model import Frames, NetworkOutput, PerceptionNetwork


@MODELS.register_module()
class FramePreprocessor(BaseDataPreprocessor):
    """Collates the dataset's samples into Frames on the model's device.

    Each sample's inputs: points [P,5] float32, images [N,3,H,W] uint8, image_from_lidar [N,4,4] float32,
    camera_mask [N] bool, lidar_mask bool. The cloud of a sample whose LiDAR is off is left out. Samples may differ in
    their number of cameras: those with fewer get missing ones.

    Args:
        use_lidar, use_camera: switch a sensor off for every sample, as if it were missing.
    """

    def __init__(self, use_lidar: bool = True, use_camera: bool = True, non_blocking: bool = False) -> None:
        super().__init__(non_blocking)
        self.use_lidar, self.use_camera = use_lidar, use_camera

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        inputs = self.cast_data(data["inputs"])
        batch = len(data["data_samples"])
        on = torch.ones((), dtype=torch.bool, device=self.device)
        # A config may load one sensor only: the other one is then missing in every sample.
        points = inputs.get("points", [torch.zeros(0, 5, device=self.device)] * batch)
        lidar_mask = torch.stack(list(inputs.get("lidar_mask", [~on] * batch))) & self.use_lidar
        images = inputs.get("images", [torch.zeros(0, 3, 1, 1, dtype=torch.uint8, device=self.device)] * batch)
        matrices = inputs.get("image_from_lidar", [torch.zeros(0, 4, 4, device=self.device)] * batch)
        camera_mask = _padded(inputs.get("camera_mask", [on.new_zeros(0)] * batch)) & self.use_camera
        clouds = [p if is_on else p[:0] for p, is_on in zip(points, lidar_mask.tolist(), strict=True)]
        counts = torch.tensor([len(p) for p in clouds], device=self.device)
        frames = Frames(
            points=torch.cat(clouds),
            point_batch=torch.repeat_interleave(torch.arange(batch, device=self.device), counts),
            images=_padded(images),
            image_from_lidar=_padded(matrices),
            camera_mask=camera_mask,
            lidar_mask=lidar_mask,
        )
        return {"inputs": frames, "data_samples": self.cast_data(data["data_samples"])}


@MODELS.register_module()
class FusionDetector(Base3DDetector):
    """Wraps the network for training and evaluation.

    Args:
        network: the network, or its config.
        loss: the head's loss, or its config.
        depth_weight, semantic_weight, image_weight: weights of what the camera branch learns in the images: depths and
            classes by LiDAR points and boxes, and the 2D head by boxes.
        panoptic_loss: loss of the camera branch's panoptic head, or its config; None does not train it.
        panoptic_weight: its weight.
        score_threshold: predictions below it are not reported.
        test_time: if given, predictions are those of several views merged.
        backbone_checkpoint: where training begins the image backbone from (`load_backbone`); None for random weights.
        part_checkpoints: where training begins whole parts from, checkpoints of other detectors by the part's name:
            {"lidar": ..., "camera": ...} after each branch was trained alone (`load_part`); None for random weights.
        frozen: part or parts of the network that training leaves as they are, norms included.

    Raises ValueError where `frozen` names no part, or loss and panoptic head do not go together.
    """

    training_only = ("network.camera.image_head.",)

    def __init__(
        self,
        network: PerceptionNetwork | dict[str, Any],
        loss: CenterLoss | QueryLoss | dict[str, Any],
        depth_weight: float = 1.0,
        semantic_weight: float = 1.0,
        image_weight: float = 1.0,
        panoptic_loss: PanopticLoss | dict[str, Any] | None = None,
        panoptic_weight: float = 0.1,
        score_threshold: float = 0.02,
        test_time: TestTimeViews | dict[str, Any] | None = None,
        backbone_checkpoint: str | None = None,
        part_checkpoints: Mapping[str, str | None] | None = None,
        frozen: str | Sequence[str] = (),
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor or {"type": FramePreprocessor}, init_cfg)
        self.network: PerceptionNetwork = build(network)
        self.criterion: CenterLoss | QueryLoss = build(loss)
        self.panoptic_criterion: PanopticLoss | None = build(panoptic_loss)
        self.panoptic_weight = panoptic_weight
        head = None if self.network.camera is None else self.network.camera.panoptic
        if (head is None) != (panoptic_loss is None):
            raise ValueError("panoptic_loss and the camera branch's panoptic head go together; only one is given")
        self.test_time: TestTimeViews | None = build(test_time)
        self.score_threshold, self.backbone_checkpoint = score_threshold, backbone_checkpoint
        self.part_checkpoints = dict(part_checkpoints or {})
        self.frozen = (frozen,) if isinstance(frozen, str) else tuple(frozen)
        for name in self.frozen:
            network_part(self.network, name).requires_grad_(False)
        if backbone_checkpoint is not None and self.network.camera is None:
            raise ValueError("backbone_checkpoint is given, but the network has no cameras")
        self.image_weights = {
            "loss_depth": depth_weight,
            "loss_semantic": semantic_weight,
            "loss_image_heatmap": image_weight,
            "loss_image_box": image_weight,
        }

    def init_weights(self) -> None:
        """Called by mmengine's Runner before a training from the start."""
        super().init_weights()
        for part, path in self.part_checkpoints.items():
            if path is not None:
                load_part(self.network, part, path)
        if self.backbone_checkpoint is not None and self.network.camera is not None:
            load_backbone(self.network.camera.backbone, self.backbone_checkpoint)

    def train(self, mode: bool = True) -> FusionDetector:
        super().train(mode)
        for name in self.frozen:
            network_part(self.network, name).eval()
        return self

    def loss(self, batch_inputs: Frames, batch_data_samples: list[Det3DDataSample], **kwargs: Any) -> dict[str, Tensor]:
        """Losses by name. Each sample's gt_instances_3d: bboxes_3d [K,9] (velocity may be NaN) and labels_3d [K]."""
        frames = batch_inputs
        output = self.network(frames)
        boxes, labels, sample = ground_truth(batch_data_samples)
        known = boxes, labels, sample
        if output.again is not None:
            known = _with_repeated(*known, output.again, len(batch_data_samples))
        losses: dict[str, Tensor] = self.criterion(self.network.head, output.head, *known)
        if self.network.second_stage is not None:
            found, corrections = self.network.corrections(output, frames)
            losses |= self.network.second_stage.loss(corrections, found, *known)
        camera = self.network.camera
        if camera is not None and output.camera is not None and output.measured is not None:
            learned = image_losses(
                camera,
                output.camera,
                output.measured,
                frames.points,
                frames.image_from_lidar,
                frames.camera_mask,
                boxes,
                labels,
                sample,
            )
            losses |= {name: self.image_weights[name] * loss for name, loss in learned.items()}
            losses |= self._panoptic_losses(frames, output, boxes, labels, sample)
        return losses

    def _panoptic_losses(
        self, frames: Frames, output: NetworkOutput, boxes: Tensor, labels: Tensor, sample: Tensor
    ) -> dict[str, Tensor]:
        """Losses of the camera branch's panoptic head by name; none without one."""
        camera, criterion = self.network.camera, self.panoptic_criterion
        if camera is None or camera.panoptic is None or criterion is None:
            return {}
        assert output.camera is not None and output.camera.panoptic is not None and output.measured is not None
        points = frame_points(output.measured, frames.points, boxes, labels, sample, camera.panoptic.things)
        there = frames.camera_mask.flatten().tolist()
        rows = present_rows(frames.camera_mask)
        # Where no camera is there, the one that ran all the same has nothing to learn.
        own = [points[row] if there[row] else points[row][:0] for row in rows.tolist()]
        learned = criterion(output.camera.panoptic, frames.images.flatten(0, 1)[rows], own, [None] * len(own))
        return {
            f"loss_panoptic_{name.removeprefix('loss_')}": self.panoptic_weight * loss for name, loss in learned.items()
        }

    def predict(
        self, batch_inputs: Frames, batch_data_samples: list[Det3DDataSample], **kwargs: Any
    ) -> list[Det3DDataSample]:
        """Fills each sample's pred_instances_3d: boxes [K,9], bboxes_3d, scores_3d [K], labels_3d [K]."""
        if self.test_time is not None:
            detections = self.test_time.detect(self.network, batch_inputs)
        else:
            detections = self.network.detect(batch_inputs)
        for sample, boxes, scores, labels in zip(batch_data_samples, *detections, strict=True):
            keep = scores >= self.score_threshold
            sample.pred_instances_3d = InstanceData(
                boxes=boxes[keep],
                bboxes_3d=LiDARInstance3DBoxes(boxes[keep], box_dim=9, origin=(0.5, 0.5, 0.5)),
                scores_3d=scores[keep],
                labels_3d=labels[keep],
            )
            sample.pred_instances = InstanceData()
        return batch_data_samples

    def _forward(self, batch_inputs: Frames, batch_data_samples: Any = None, **kwargs: Any) -> Any:
        return self.network(batch_inputs)

    def extract_feat(self, batch_inputs: Frames) -> Any:
        """The network has no separate feature stage; mmdet3d's interface asks for the method."""
        raise NotImplementedError("FusionDetector has no extract_feat; call its network")


def _padded(samples: Sequence[Tensor]) -> Tensor:
    """Samples [N_i,...] of a batch as [B,max N,...], the rest zero (False: missing)."""
    return torch.nn.utils.rnn.pad_sequence(list(samples), batch_first=True)


def ground_truth(samples: list[Det3DDataSample]) -> tuple[Tensor, Tensor, Tensor]:
    """boxes [K,9] with the gravity centre, labels [K] and sample [K] of a batch."""
    boxes, labels, index = [], [], []
    for i, sample in enumerate(samples):
        instances = sample.gt_instances_3d
        tensor = instances.bboxes_3d.tensor
        boxes.append(torch.cat((instances.bboxes_3d.gravity_center, tensor[:, 3:]), dim=1))
        labels.append(instances.labels_3d)
        index.append(torch.full((len(tensor),), i, dtype=torch.long, device=tensor.device))
    return torch.cat(boxes), torch.cat(labels), torch.cat(index)


def _with_repeated(
    boxes: Tensor, labels: Tensor, sample: Tensor, again: Tensor, batch_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, labels and samples of a batch, followed by those of the samples `again` [A], as samples B, B + 1, ..."""
    place = again.new_full((batch_size,), -1)
    place[again] = batch_size + torch.arange(len(again), device=again.device)
    there = place[sample] >= 0
    return (
        torch.cat((boxes, boxes[there])),
        torch.cat((labels, labels[there])),
        torch.cat((sample, place[sample][there])),
    )
