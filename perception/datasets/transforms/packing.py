"""The last step: a sample as the tensors that the network takes."""

from typing import Any

import numpy as np
import torch

from perception.datasets.transforms.base import TRANSFORMS, BaseTransform
from perception.geometry import compose_image_from_lidar

from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes  # isort: skip (base makes mmdet3d importable)
from mmengine.structures import InstanceData  # isort: skip

_META_KEYS = (
    "sample_idx", "token", "scene_token", "timestamp", "cameras", "camera_age_s", "lidar_path", "image_paths",
    "bad_files",
)  # fmt: skip


@TRANSFORMS.register_module()
class PackFrame(BaseTransform):
    """Inputs and ground truth of one frame.

    Returns {
        "inputs": {
            points [P,5] float32 (x y z m in the augmented LiDAR frame, intensity, age s),
            images [N,3,H,W] uint8 RGB,
            image_from_lidar [N,4,4] float32: augmented LiDAR frame -> (u * depth, v * depth, depth, 1) of `images`,
            camera_mask [N] bool, lidar_mask [] bool: False where a sensor is missing (its data is empty or zero),
        },
        "data_samples": Det3DDataSample with, where the pipeline loaded boxes, gt_instances_3d (bboxes_3d
            LiDARInstance3DBoxes of 9 numbers with the bottom centre, as mmdet3d keeps them; labels_3d [K] int64;
            velocity_known [K] bool, False where vx vy are NaN), and in testing eval_ann_info. Its metainfo holds the
            names and paths of the frame, lidar2global, ego2global, lidar2ego and lidar_aug [4,4] float64.
    }
    Inputs of a sensor that the pipeline does not load are absent.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        sample = Det3DDataSample(metainfo=self._metainfo(results))
        if "gt_bboxes_3d" in results:
            boxes: LiDARInstance3DBoxes = results["gt_bboxes_3d"]
            sample.gt_instances_3d = InstanceData(
                bboxes_3d=boxes,
                labels_3d=torch.from_numpy(np.asarray(results["gt_labels_3d"], dtype=np.int64)),
                velocity_known=torch.isfinite(boxes.tensor[:, 7:9]).all(dim=1),
            )
        if "eval_ann_info" in results:
            sample.eval_ann_info = results["eval_ann_info"]
        return {"inputs": self._inputs(results), "data_samples": sample}

    @staticmethod
    def _inputs(results: dict[str, Any]) -> dict[str, torch.Tensor]:
        inputs = {}
        if "points" in results:
            inputs["points"] = torch.from_numpy(np.ascontiguousarray(results["points"], dtype=np.float32))
            inputs["lidar_mask"] = torch.tensor(results["lidar_mask"])
        if "camera_mask" in results:
            images = results["camera_images"]
            if not isinstance(images, np.ndarray):
                raise ValueError("images differ in size or are missing: put ImageAugment before PackFrame")
            image_from_lidar = [
                compose_image_from_lidar(camera_from_lidar, intrinsics, image_aug, results["lidar_aug"])
                for camera_from_lidar, intrinsics, image_aug in zip(
                    results["camera_from_lidar"], results["intrinsics"], results["image_aug"], strict=True
                )
            ]
            inputs["images"] = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
            inputs["image_from_lidar"] = torch.from_numpy(np.stack(image_from_lidar).astype(np.float32))
            inputs["camera_mask"] = torch.from_numpy(results["camera_mask"])
        return inputs

    @staticmethod
    def _metainfo(results: dict[str, Any]) -> dict[str, Any]:
        meta = {key: results[key] for key in _META_KEYS if key in results}
        meta["lidar_aug"] = results["lidar_aug"]
        meta["box_type_3d"], meta["box_mode_3d"] = results.get("box_type_3d"), results.get("box_mode_3d")
        ego_from_lidar = np.asarray(results["lidar_points"].get("lidar2ego", np.eye(4)))
        global_from_ego = np.asarray(results.get("ego2global", np.eye(4)))
        meta["lidar2ego"], meta["ego2global"] = ego_from_lidar, global_from_ego
        meta["lidar2global"] = global_from_ego @ ego_from_lidar
        return meta
