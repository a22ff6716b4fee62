"""A frame in Open3D's own window. Open3D is imported here only, and where this is called."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perception.geometry.boxes import box_corners
from perception.visualization.bev_picture import height_colours
from perception.visualization.frame_source import FrameSource
from perception.visualization.style import BACKGROUND, class_colour
from perception.visualization.wireframe import EDGES


def geometries(points: np.ndarray, boxes: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> list[Any]:
    """Open3D geometries of points [P,>=3] (m), coloured by height, and boxes [K,9] in their classes' colours.

    Raises ImportError with the remedy where Open3D cannot be imported.
    """
    o3d = _open3d()
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points[:, :3].astype(np.float64)))
    cloud.colors = o3d.utility.Vector3dVector(height_colours(points[:, 2]) / 255.0)
    shown = [cloud]
    for corners, label in zip(box_corners(boxes[:, :7].astype(np.float64)), labels, strict=True):
        lines = o3d.geometry.LineSet(o3d.utility.Vector3dVector(corners), o3d.utility.Vector2iVector(EDGES))
        lines.paint_uniform_color(np.array(class_colour(class_names[label])) / 255.0)
        shown.append(lines)
    return shown


def show(shown: Sequence[Any], title: str) -> None:
    """Open a window until it is closed. Raises OSError where there is no display."""
    o3d = _open3d()
    window = o3d.visualization.Visualizer()
    if not window.create_window(title):
        raise OSError("Open3D could not open a window: is there a display? --html needs none")
    for geometry in shown:
        window.add_geometry(geometry)
    window.get_render_option().background_color = np.array(BACKGROUND) / 255.0
    window.get_render_option().point_size = 1.5
    window.run()
    window.destroy_window()


def show_frames(source: FrameSource, score: float) -> None:
    """The frames of a source, each until its window is closed: ground truth, and detections of at least `score`."""
    for sample, boxes in source.samples():
        found = boxes.get("pred_scores", np.zeros(0)) >= score
        tables = [boxes.get("gt_boxes", np.zeros((0, 9))), boxes.get("pred_boxes", np.zeros((0, 9)))[found]]
        labels = [boxes.get("gt_labels", np.zeros(0, int)), boxes.get("pred_labels", np.zeros(0, int))[found]]
        shown = geometries(sample["points"], np.concatenate(tables), np.concatenate(labels), source.class_names)
        show(shown, str(sample["token"]))


def _open3d() -> Any:
    try:
        import open3d
    except (ImportError, OSError) as error:
        raise ImportError(
            f"Open3D cannot be imported ({error}): pip install open3d; it also needs a system library: "
            "apt-get install libusb-1.0-0. --html needs neither"
        ) from error
    return open3d
