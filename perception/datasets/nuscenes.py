"""nuScenes for training and testing: mmdet3d's dataset class, reading our info files or mmdet3d's own."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from perception.datasets.bad_data import check_choice
from perception.datasets.entry_check import check_entry
from perception.datasets.info_files import POINT_FEATURES, read_info_file, resolve_entry
from perception.mmcv_ops import install

install()  # mmdet3d does not import without mmcv's operators

from mmdet3d.datasets import NuScenesDataset  # noqa: E402
from mmdet3d.registry import DATASETS  # noqa: E402
from mmdet3d.structures import LiDARInstance3DBoxes  # noqa: E402

_BOX_FIELDS = 9


@DATASETS.register_module()
class NuScenesFusionDataset(NuScenesDataset):
    """Key frames with LiDAR sweeps, cameras and boxes.

    Differences from mmdet3d's class: info files may be JSON, and pickles are read without running anything in them; the
    dataroot is found in the info file, and paths of any origin are resolved against it; boxes whose velocity is unknown
    keep NaN there (mmdet3d writes 0, which teaches that a moving car stands), so losses must ignore NaN; samples may
    lack annotations; boxes are filtered in training only.

    Args:
        ann_file: info file (.json, or mmdet3d's v1.1 .pkl), relative to the working folder, else to data_root.
        pipeline: transforms, see perception/datasets/transforms.
        data_root: dataroot; None takes the one that the info file records.
        metainfo: `classes` chooses and orders the classes; boxes of others are dropped.
        test_mode: keep all boxes, as `eval_ann_info`, and never skip a sample.
        min_lidar_points: in training, boxes with fewer points in the key sweep are dropped; 0 keeps all.
        use_valid_flag: in training, keep boxes with at least one LiDAR or radar point instead.
        filter_empty_gt: in training, replace a sample that has no box left by a random other one.
        on_bad_data: "stop", or "skip": entries of the info file that are damaged are left out, named and counted in the
            log and in `bad_entries`. In testing, the score is then one of fewer samples, and says so.

    Raises FileNotFoundError or ValueError naming what is wrong with the info file or the dataroot.
    """

    data_root: str
    ann_file: str

    def __init__(
        self,
        ann_file: str,
        pipeline: Sequence[dict[str, Any] | Callable[..., Any]] = (),
        data_root: str | None = None,
        metainfo: dict[str, Any] | None = None,
        test_mode: bool = False,
        min_lidar_points: int = 1,
        use_valid_flag: bool = False,
        filter_empty_gt: bool = False,
        on_bad_data: str = "stop",
        **kwargs: Any,
    ) -> None:
        self.min_lidar_points = min_lidar_points
        self.on_bad_data = check_choice(on_bad_data)
        self.bad_entries: list[str] = []
        super().__init__(
            data_root=data_root or "",
            ann_file=str(ann_file),
            pipeline=list(pipeline),
            metainfo=metainfo,
            data_prefix={},
            modality={"use_lidar": True, "use_camera": True},
            test_mode=test_mode,
            use_valid_flag=use_valid_flag,
            filter_empty_gt=filter_empty_gt,
            **kwargs,
        )

    def _join_prefix(self) -> None:
        if self.data_root and not Path(self.ann_file).is_file():
            self.ann_file = str(Path(self.data_root) / self.ann_file)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the info file and resolve its paths; see the class for what is raised."""
        metainfo, samples = read_info_file(self.ann_file)
        recorded = Path(self.ann_file).parent / metainfo.get("dataroot", ".")
        self.data_root = str(Path(self.data_root or recorded).resolve())
        if not Path(self.data_root).is_dir():
            raise FileNotFoundError(
                f"no dataroot at {self.data_root} (from {self.ann_file}); give data_root=... or make the info file anew"
            )
        if not samples:
            raise ValueError(f"{self.ann_file} lists no samples")
        for key, value in metainfo.items():
            self._metainfo.setdefault(key, value)
        self._metainfo["dataroot"] = self.data_root
        self._metainfo["version"] = metainfo.get("version", self._metainfo.get("version"))
        data_list = []
        for index, sample in enumerate(samples):
            try:
                data_list.append(self.parse_data_info(sample))
            except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
                token = sample.get("token") if isinstance(sample, dict) else None
                # A damaged value may be as long as the file.
                text = str(error)[:300]
                reason = f"lacks {text}" if isinstance(error, KeyError) else f"is damaged: {text}"
                problem = f"{self.ann_file}: sample {token or index!r} {reason}"
                if self.on_bad_data == "stop":
                    raise ValueError(problem) from error
                self.bad_entries.append(problem)
        if self.bad_entries:
            text = f"{len(self.bad_entries)} of {len(samples)} entries are left out, the first: {self.bad_entries[0]}"
            print_log(text, "current", logging.WARNING)
        if not data_list:
            raise ValueError(f"{self.ann_file} has no entry that can be read; the first: {self.bad_entries[0]}")
        return data_list

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """An info entry, with `classes`: the names that its labels count, for transforms that know objects by name."""
        info = super().get_data_info(idx)
        info["classes"] = self._metainfo["classes"]
        return info

    def parse_data_info(self, info: dict[str, Any]) -> dict[str, Any]:
        """An info entry with absolute paths, matrices as float64 arrays, and boxes as arrays under `ann_info`."""
        resolve_entry(info, self.data_root)
        check_entry(info)
        info["lidar_path"], info["num_pts_feats"] = info["lidar_points"]["lidar_path"], POINT_FEATURES
        if not self.test_mode or self.load_eval_anns:
            info["eval_ann_info" if self.test_mode else "ann_info"] = self.parse_ann_info(info)
        # The arrays hold all of it; mmdet3d keeps both copies of every box in memory.
        info.pop("instances", None)
        info.pop("cam_instances", None)
        return info

    def parse_ann_info(self, info: dict[str, Any]) -> dict[str, Any]:
        """The boxes of a sample.

        Returns {gt_bboxes_3d: LiDARInstance3DBoxes of 9 numbers, NaN where the velocity is unknown; gt_labels_3d [K],
        attr_labels [K] (-1: none) and num_lidar_pts [K], int64}.
        """
        instances = [row for row in info.get("instances", []) if self.label_mapping[row["bbox_label_3d"]] >= 0]
        if not self.test_mode:
            instances = [row for row in instances if self._is_trainable(row)]
        boxes = np.array(
            [[*row["bbox_3d"][:7], *row.get("velocity", (None, None))] for row in instances], dtype=np.float32
        ).reshape(-1, _BOX_FIELDS)
        labels = np.array([self.label_mapping[row["bbox_label_3d"]] for row in instances], dtype=np.int64)
        for label in labels:
            self.num_ins_per_cat[label] += 1
        return {
            "gt_bboxes_3d": LiDARInstance3DBoxes(boxes, box_dim=_BOX_FIELDS, origin=(0.5, 0.5, 0.5)),
            "gt_labels_3d": labels,
            "attr_labels": np.array([row.get("attr_label", -1) for row in instances], dtype=np.int64),
            "num_lidar_pts": np.array([row.get("num_lidar_pts", -1) for row in instances], dtype=np.int64),
        }

    def _is_trainable(self, instance: dict[str, Any]) -> bool:
        if self.use_valid_flag:
            return bool(instance.get("bbox_3d_isvalid", True))
        return bool(instance.get("num_lidar_pts", self.min_lidar_points) >= self.min_lidar_points)
