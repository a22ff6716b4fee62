"""Pasting annotated objects of other frames into a training sample, so that rare classes are seen often enough."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from perception.datasets.gt_database import GTDatabase
from perception.datasets.transforms.base import TRANSFORMS, BaseTransform, random_generator
from perception.ops.box_iou_bev import box_iou_bev
from perception.ops.points_in_boxes import points_in_boxes

from mmdet3d.structures import LiDARInstance3DBoxes  # isort: skip (base makes mmdet3d importable)

_BEV_FIELDS = [0, 1, 3, 4, 6]  # x y, length, width, yaw
_AGE_SLACK_S = 0.025  # half the period of the LiDAR: sweeps of two scenes are not taken at the same ages


@TRANSFORMS.register_module()
class GTPaste(BaseTransform):
    """Paste objects, points and box, where they were recorded relative to the sensor (SECOND, Yan et al. 2018).

    Of each class as many are drawn as the sample has fewer than `samples` says. One that overlaps a box of the sample
    or one already pasted, seen from above, is dropped. The scene's own points inside a pasted box give way to the
    object's; other points stay, also those that the object would hide. Objects carry points of previous sweeps only as
    far back as the sample's own go.

    It comes after LoadSweeps and LoadAnnotations3D and before BEVAugment. A sample whose LiDAR failed is left alone.

    So is every sample with a live camera: the images do not show the object, and a network that fuses would learn that
    what the cameras see does not matter. Hence it acts in pipelines without cameras, and in those with them only on
    samples whose cameras ModalityDropout has all dropped; LoadCameras and ModalityDropout must stand before it.

    Args:
        database: folder that `tools/create_data.py gt-database` wrote, of the training set, with the sweeps of the
            pipeline's LoadSweeps. It is opened when first needed, so that a config builds without it.
        samples: {class: how many objects a sample should have}; classes that are not named are never pasted. The
            sample's `classes` (NuScenesFusionDataset records it) gives their labels.
        min_points: objects with fewer points of all sweeps are not used; a number, or {class: number} (1 for the rest).
        min_key_points: nor those with fewer points of the key sweep; by default an object that the key sweep misses,
            which the data set drops too (its min_lidar_points).
        min_visibility: nor those that the cameras saw less of, nuScenes' 1..4; where it is unknown the object is used.
        enabled: False passes samples through. FadeGTPaste switches it while training.

    Raises FileNotFoundError or ValueError of `GTDatabase` at first use; ValueError where the step is out of its place
    in the pipeline or `samples` names a class that the data set lacks.
    """

    def __init__(
        self,
        database: str,
        samples: Mapping[str, int],
        min_points: int | Mapping[str, int] = 5,
        min_key_points: int = 1,
        min_visibility: int = 0,
        enabled: bool = True,
    ) -> None:
        if not samples or min(samples.values()) < 0:
            raise ValueError(f"GTPaste: samples must be counts of objects by class, got {samples}")
        self.database, self.samples = str(database), dict(samples)
        self.min_points = min_points if isinstance(min_points, int) else dict(min_points)
        self.min_key_points, self.min_visibility = min_key_points, min_visibility
        self.enabled = enabled
        self._objects: GTDatabase | None = None
        self._usable: dict[str, np.ndarray] = {}

    def open(self) -> GTDatabase:
        """Open the database now rather than at first use: data workers that are forked later share it."""
        if self._objects is None:
            database = GTDatabase(self.database)
            for name in self.samples.keys() & database.objects.keys():
                objects = database.objects[name]
                visible = (objects.visibility == 0) | (objects.visibility >= self.min_visibility)
                enough = objects.num_points >= self._least(name)
                self._usable[name] = np.flatnonzero(visible & enough & (objects.num_key_points >= self.min_key_points))
            self._objects = database
        return self._objects

    def __getstate__(self) -> dict[str, Any]:
        # A worker that is spawned opens the database anew: a memory map would travel as a copy of the whole file.
        return {**self.__dict__, "_objects": None, "_usable": {}}

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        self._check_place(results)
        if not self.enabled or not results["lidar_mask"] or np.any(results.get("camera_mask", False)):
            return results
        names, indices, boxes = self._draw(results, random_generator())
        free = _free_of_overlap(results["gt_bboxes_3d"].tensor.numpy(), boxes)
        oldest_s = results["points"][:, 4].max(initial=0.0) + _AGE_SLACK_S
        pieces, pasted = [], []
        for i in free:
            points = self.open().points_of(names[i], indices[i])
            points = points[points[:, 4] <= oldest_s]
            if len(points) >= self._least(names[i]):
                pieces.append(points)
                pasted.append(i)
        if pasted:
            labels = np.array([results["classes"].index(names[i]) for i in pasted])
            _insert(results, pieces, boxes[pasted], labels)
        return results

    def _check_place(self, results: dict[str, Any]) -> None:
        missing = [key for key in ("points", "gt_bboxes_3d", "gt_labels_3d") if key not in results]
        if missing:
            raise ValueError(
                f"GTPaste: the sample has no {', '.join(missing)}; put it after LoadSweeps and LoadAnnotations3D"
            )
        if not np.array_equal(results.get("lidar_aug", np.eye(4)), np.eye(4)):
            raise ValueError("GTPaste: the scene has been moved already; put it before BEVAugment")
        if "classes" not in results:
            raise ValueError("GTPaste: the sample does not say its classes, as those of NuScenesFusionDataset do")
        if unknown := [name for name in self.samples if name not in results["classes"]]:
            raise ValueError(
                f"GTPaste: samples names {', '.join(unknown)}; the data set has {', '.join(results['classes'])}"
            )

    def _draw(self, results: dict[str, Any], rng: np.random.Generator) -> tuple[list[str], list[int], np.ndarray]:
        """Class and number in the database of each object drawn, in the order of `samples`; their boxes [C,9]."""
        database = self.open()
        names: list[str] = []
        indices: list[int] = []
        boxes = [np.zeros((0, 9), dtype=np.float32)]
        for name, target in self.samples.items():
            present = int((results["gt_labels_3d"] == results["classes"].index(name)).sum())
            usable = self._usable.get(name, ())
            count = min(target - present, len(usable))
            if count > 0:
                drawn = rng.choice(usable, count, replace=False)
                names += [name] * count
                indices += drawn.tolist()
                boxes.append(database.objects[name].boxes[drawn])
        return names, indices, np.concatenate(boxes)

    def _least(self, name: str) -> int:
        return self.min_points if isinstance(self.min_points, int) else self.min_points.get(name, 1)


def _free_of_overlap(present: np.ndarray, drawn: np.ndarray) -> list[int]:
    """Places in `drawn` [C,9] of boxes that share no area with `present` [K,>=7] or an earlier one of them."""
    boxes = torch.from_numpy(np.concatenate([present[:, _BEV_FIELDS], drawn[:, _BEV_FIELDS]]))
    overlaps = (box_iou_bev(boxes[len(present) :], boxes) > 0).numpy()
    taken = np.arange(len(boxes)) < len(present)
    for i, row in enumerate(overlaps, start=len(present)):
        taken[i] = not (row & taken).any()
    return np.flatnonzero(taken[len(present) :]).tolist()


def _insert(results: dict[str, Any], pieces: list[np.ndarray], boxes: np.ndarray, labels: np.ndarray) -> None:
    """Put objects into a sample: their points, boxes [M,9] with the gravity centre and labels [M]."""
    scene = results["points"]
    xyz = torch.from_numpy(np.ascontiguousarray(scene[:, :3]))
    outside = (points_in_boxes(xyz, torch.from_numpy(boxes[:, :7])) < 0).numpy()
    results["points"] = np.concatenate([scene[outside], *pieces])
    added = LiDARInstance3DBoxes(torch.from_numpy(boxes), box_dim=boxes.shape[1], origin=(0.5, 0.5, 0.5))
    results["gt_bboxes_3d"] = LiDARInstance3DBoxes.cat([results["gt_bboxes_3d"], added])
    results["gt_labels_3d"] = np.concatenate([results["gt_labels_3d"], labels])
