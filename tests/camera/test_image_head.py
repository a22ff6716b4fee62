"""The 2D head: targets by hand, and which branch learns which object."""

import math

import torch

from perception.camera.image_boxes import ImageBoxes
from perception.camera.image_head import ImageHeadOutput, TridentImageHead, image_targets

RANGES = ((0.0, 24.0), (8.0, 40.0), (24.0, 1e8))
HW = (8, 16)  # of the features; the picture is 64 x 128
MASK = torch.tensor([[True, True]])


def objects(*rows: tuple[int, float, float, float, float, float]) -> ImageBoxes:
    """(camera, left, top, right, bottom in px, depth), one object each."""
    rectangle, depth = torch.zeros(len(rows), 2, 4), torch.zeros(len(rows), 2)
    seen = torch.zeros(len(rows), 2, dtype=torch.bool)
    for k, (camera, *edges, d) in enumerate(rows):
        rectangle[k, camera], depth[k, camera], seen[k, camera] = torch.tensor(edges), d, True
    return ImageBoxes(rectangle, depth, seen)


def zeros(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.long)


def test_a_target_holds_the_rectangle_and_a_gaussian_as_wide_as_it() -> None:
    # 20 x 10 px about (43.5, 21.5): in cells 2.5 x 1.25 about (5.5, 2.75).
    target = image_targets(objects((1, 33.5, 16.5, 53.5, 26.5, 9.0)), zeros(1) + 2, zeros(1), MASK, 3, HW, 8)
    assert (target.view.item(), target.label.item(), target.row.item(), target.column.item()) == (1, 2, 2, 5)
    assert abs(target.size_px.item() - math.sqrt(200)) < 1e-3
    expected = torch.tensor([[0.0, 0.25, math.log(2.5), math.log(1.25)]])
    torch.testing.assert_close(target.box, expected, atol=1e-5, rtol=0)
    assert target.heatmap[1, 2, 2, 5] == 1 and target.heatmap[0].max() == 0 and target.heatmap[1, :2].max() == 0
    assert abs(target.heatmap[1, 2, 2, 6].item() - math.exp(-0.5 / 0.5**2)) < 1e-5


def test_an_object_whose_centre_a_nearer_one_covers_is_no_target() -> None:
    far, near = (0, 20.0, 20.0, 40.0, 40.0, 20.0), (0, 25.0, 25.0, 60.0, 45.0, 10.0)
    target = image_targets(objects(far, near), torch.tensor([0, 1]), zeros(2), MASK, 2, HW, 8)
    assert target.label.tolist() == [1]
    # In another camera, or nearer itself, it is one.
    apart = image_targets(objects((1, *far[1:]), near), torch.tensor([0, 1]), zeros(2), MASK, 2, HW, 8)
    assert apart.label.tolist() == [0, 1]
    first = image_targets(objects((*far[:5], 5.0), near), torch.tensor([0, 1]), zeros(2), MASK, 2, HW, 8)
    assert first.label.tolist() == [0, 1]


def test_each_branch_learns_the_objects_of_its_range_and_is_not_told_off_for_others() -> None:
    head = TridentImageHead(4, 1, RANGES)
    # Of sqrt(w h) 6, 16 and 50 px, in cells (1, 2), (1, 7) and (4, 12).
    middles = ((2, 1, 6.0), (7, 1, 16.0), (12, 4, 50.0))
    rows = [
        (0, x * 8 + 3.5 - s / 2, y * 8 + 3.5 - s / 2, x * 8 + 3.5 + s / 2, y * 8 + 3.5 + s / 2, 9.0)
        for x, y, s in middles
    ]
    output = ImageHeadOutput(torch.zeros(3, 1, 2, 1, *HW).requires_grad_(), torch.zeros(3, 1, 2, 4, *HW))
    losses = head.loss(output, objects(*rows), zeros(3), zeros(3), MASK)
    (gradient,) = torch.autograd.grad(losses["loss_image_heatmap"], output.heatmap)
    at = torch.stack([gradient[:, 0, 0, 0, y, x] for x, y, _ in middles], dim=1)  # [branch, object]
    learns = torch.tensor([[True, True, False], [False, True, False], [False, False, True]])
    assert ((at < -0.01) == learns).all()
    assert at[~learns].abs().max() < 1e-6
    assert (gradient[:, 0, 0, 0, 7, 0] > 0.01).all()  # where nothing is


def test_a_perfect_answer_costs_nothing_and_a_wrong_rectangle_its_distance() -> None:
    head = TridentImageHead(4, 2, RANGES)
    seen = objects((0, 33.5, 16.5, 53.5, 26.5, 9.0), (1, 60.0, 20.0, 110.0, 60.0, 5.0))
    labels = torch.tensor([0, 1])
    target = image_targets(seen, labels, zeros(2), MASK, 2, HW, 8)
    heatmap, box = torch.full((3, 1, 2, 2, *HW), -20.0), torch.zeros(3, 1, 2, 4, *HW)
    for t in range(2):
        for r, (low, high) in enumerate(RANGES):
            if low <= target.size_px[t] < high:
                heatmap[r, 0, target.view[t], target.label[t], target.row[t], target.column[t]] = 20.0
                box[r, 0, target.view[t], :, target.row[t], target.column[t]] = target.box[t]
    losses = head.loss(ImageHeadOutput(heatmap, box), seen, labels, zeros(2), MASK)
    assert all(float(loss) < 1e-5 for loss in losses.values())
    wrong = head.loss(ImageHeadOutput(heatmap, box + 0.5), seen, labels, zeros(2), MASK)
    assert abs(float(wrong["loss_image_box"]) - head.box_weight * 4 * 0.5) < 1e-5


def test_missing_cameras_and_empty_frames_are_no_loss() -> None:
    head = TridentImageHead(4, 2, RANGES)
    output = ImageHeadOutput(torch.zeros(3, 1, 2, 2, *HW), torch.zeros(3, 1, 2, 4, *HW))
    none = torch.zeros(1, 2, dtype=torch.bool)
    losses = head.loss(output, objects()._replace(), zeros(0), zeros(0), none)
    assert all(float(loss) == 0 for loss in losses.values())
    one = head.loss(output, objects(), zeros(0), zeros(0), torch.tensor([[True, False]]))
    both = head.loss(output, objects(), zeros(0), zeros(0), MASK)
    assert float(one["loss_image_heatmap"]) > 0
    torch.testing.assert_close(2 * one["loss_image_heatmap"], both["loss_image_heatmap"])
