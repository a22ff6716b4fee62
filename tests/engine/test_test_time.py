"""Views of a frame: geometry there and back, and what merging makes of them."""

import math

import pytest
import torch

from perception.engine.test_time import TestTimeViews, merge_views, unview_boxes, view_frames
from perception.head.center_head import Detections
from perception.model import Frames


def frames() -> Frames:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.tensor([[40.0, 32, 0, 3], [0, 16, -40, 1], [0, 1, 0, 0.5], [0, 0, 0, 1]])
    return Frames(
        torch.randn(50, 5, generator=generator) * 10,
        torch.zeros(50, dtype=torch.long),
        torch.zeros(1, 1, 3, 8, 8, dtype=torch.uint8),
        matrix[None, None],
        torch.ones(1, 1, dtype=torch.bool),
        torch.ones(1, dtype=torch.bool),
    )


@pytest.mark.parametrize(("side", "angle"), [(1.0, 0.0), (-1.0, 0.0), (1.0, 0.3), (-1.0, -2.0)])
def test_points_keep_their_pixels_and_boxes_come_back(side: float, angle: float) -> None:
    before = frames()
    after = view_frames(before, side, angle)

    def pixels(f: Frames) -> torch.Tensor:
        return torch.nn.functional.pad(f.points[:, :3], (0, 1), value=1.0) @ f.image_from_lidar[0, 0].T

    assert torch.allclose(pixels(before), pixels(after), atol=1e-3)
    # A box whose front and velocity are two points of the cloud.
    corner = after.points[:, :3]
    forward = corner[1, :2] - corner[0, :2]
    yaw = torch.atan2(forward[1], forward[0])
    box = torch.cat((corner[0], torch.tensor([4.0, 2, 1]), yaw[None], forward))
    back = unview_boxes(box, side, angle)
    expected = before.points[1, :2] - before.points[0, :2]
    assert torch.allclose(back[:3], before.points[0, :3], atol=1e-4)
    assert torch.allclose(back[7:], expected, atol=1e-4)
    turned = back[6] - torch.atan2(expected[1], expected[0])
    assert math.isclose(math.cos(float(turned)), 1.0, abs_tol=1e-5)


def test_views_that_agree_make_one_better_box() -> None:
    def view(x: float, yaw: float, score: float) -> Detections:
        boxes = torch.zeros(1, 2, 9)
        boxes[0, 0] = torch.tensor([x, 0, 0, 4, 2, 1, yaw, 1, 0])
        boxes[0, 1] = torch.tensor([30.0 + x * 50, 0, 0, 4, 2, 1, 0, 0, 0])
        return Detections(boxes, torch.tensor([[score, 0.2]]), torch.tensor([[0, 1]]))

    merged = merge_views([view(0.0, 0.1, 0.8), view(0.3, 0.1 + math.pi, 0.4)], torch.tensor([1.0, 1.0]))
    assert merged.labels[0].tolist() == [0, 1]
    assert merged.scores[0].tolist() == pytest.approx([0.6, 0.1])  # found by both; found by one
    assert float(merged.boxes[0, 0, 0]) == pytest.approx(0.1)
    assert float(merged.boxes[0, 0, 6]) == pytest.approx(0.1)  # the view that sees it backwards does not turn it


def test_one_plain_view_changes_nothing() -> None:
    class Network:
        def detect(self, seen: Frames) -> Detections:
            boxes = torch.randn(1, 6, 9, generator=torch.Generator().manual_seed(0)) * 20
            return Detections(boxes, torch.linspace(0.9, 0.1, 6)[None], torch.zeros(1, 6, dtype=torch.long))

    network = Network()
    plain = network.detect(frames())
    merged = TestTimeViews(1, mirror=False, radius_m=0.1).detect(network, frames())  # type: ignore[arg-type]
    assert torch.allclose(merged.scores, plain.scores)
    assert torch.allclose(merged.boxes[..., :6], plain.boxes[..., :6], atol=1e-4)


def test_radii_are_per_class() -> None:
    with pytest.raises(ValueError, match="2 values for 3 classes"):
        TestTimeViews(3, radius_m=(1.0, 2.0))
