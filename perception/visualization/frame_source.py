"""Frames of a data set and what is drawn on them: ground truth, detections, errors, the inside of a network."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perception.evaluation.frame_errors import FrameErrors, frame_errors
from perception.evaluation.matching import match_all
from perception.evaluation.scored_boxes import ScoredBoxes, read_scored_boxes
from perception.visualization.error_picture import error_frame, error_picture
from perception.visualization.network_picture import inner_views, network_picture
from perception.visualization.sample_picture import boxes_to_draw, read_results, sample_picture
from perception.visualization.scene_viewer import viewer_frame


class FrameSource:
    """Draws chosen frames of a data set whose pipeline is LoadSweeps and LoadCameras.

    Args:
        dataset: of mmdet3d's kind, with annotations where ground truth is wanted.
        chosen: indices into it.
        results: a submission to draw, or None.
        errors: colour boxes by error; needs results and annotations.
        detector: engine.inference.Detector whose inside is drawn instead of boxes.
        score, range_m: detections below the score are left out; metres shown around the car.

    Raises FileNotFoundError or ValueError as `read_results` and `read_scored_boxes` do.
    """

    def __init__(
        self,
        dataset: Any,
        chosen: Sequence[int],
        *,
        results: Path | None = None,
        errors: bool = False,
        detector: Any = None,
        score: float = 0.3,
        range_m: float = 54.0,
    ) -> None:
        self.dataset, self.chosen, self.detector = dataset, list(chosen), detector
        self.score, self.range_m, self.results_path = score, range_m, results
        self.results = read_results(results) if results else None
        self.class_names: Sequence[str] = dataset.metainfo["classes"]
        self.scored: tuple[ScoredBoxes, FrameErrors] | None = None
        if errors:
            if results is None:
                raise ValueError("errors need detections: give --results")
            boxes = read_scored_boxes(results, dataset.metainfo["dataroot"], dataset.metainfo["version"])
            self.scored = boxes, frame_errors(boxes, match_all(boxes))
            self.class_names = boxes.classes

    def __len__(self) -> int:
        return len(self.chosen)

    def pictures(self) -> Iterator[tuple[str, np.ndarray]]:
        """(name, RGB picture) of each chosen frame."""
        for index in self.chosen:
            name = f"{index:06d}-{self.dataset.get_data_info(index)['token'][:8]}"
            yield name, self._inside(index) if self.detector is not None else self._picture(index)

    def viewer_frames(self) -> Iterator[dict[str, Any]]:
        """Each chosen frame for `write_viewer`."""
        for index in self.chosen:
            sample = self.dataset[index]
            if self.scored is not None:
                yield viewer_frame(sample, self.class_names, **error_frame(sample, *self.scored))
                continue
            boxes = boxes_to_draw(sample, self.class_names, self._detections(sample["token"]))
            counts = (sample.get("eval_ann_info") or {}).get("num_lidar_pts")
            yield viewer_frame(sample, self.class_names, gt_points=counts, **boxes)

    def samples(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Each chosen sample and its boxes, see `boxes_to_draw`."""
        for index in self.chosen:
            sample = self.dataset[index]
            yield sample, boxes_to_draw(sample, self.class_names, self._detections(sample["token"]))

    def _picture(self, index: int) -> np.ndarray:
        sample = self.dataset[index]
        if self.scored is not None:
            return error_picture(sample, *self.scored, self.range_m)
        found = self._detections(sample["token"])
        return sample_picture(sample, self.class_names, found, self.score, self.range_m)

    def _inside(self, index: int) -> np.ndarray:
        from mmengine.dataset import pseudo_collate

        sample = self.detector.pipeline(self.dataset.get_data_info(index))
        batch = self.detector.model.data_preprocessor(pseudo_collate([sample]))
        views = inner_views(self.detector.model.network, batch["inputs"])
        return network_picture(views, f"inside the network · {sample['data_samples'].metainfo['token']}")

    def _detections(self, token: str) -> Any:
        if self.results is None:
            return None
        if token not in self.results:
            raise ValueError(f"{self.results_path} has no sample {token}; was it made from another data set?")
        return self.results[token]
