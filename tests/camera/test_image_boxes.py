"""Rectangles against points all over the boxes' edges, depths against steps along the rays."""

import torch
from test_lift import forward_camera
from torch import Tensor

from perception.camera.image_boxes import NEAR_PLANE_M, box_depths, image_boxes
from perception.geometry.boxes import box_corners
from perception.geometry.camera import pixel_centres, unproject
from perception.ops.points_in_boxes import points_in_boxes

HW = (32, 64)


def scene(count: int = 40) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes all around two samples of two cameras, one of which is turned and mirrored; some reach behind a lens."""
    generator = torch.Generator().manual_seed(0)
    boxes = torch.zeros(count, 9)
    boxes[:, :3] = (torch.rand(count, 3, generator=generator) - 0.5) * torch.tensor([30.0, 40.0, 4.0])
    boxes[:, 3:6] = torch.rand(count, 3, generator=generator) * torch.tensor([5.0, 2.0, 2.0]) + 0.3
    boxes[:, 6] = (torch.rand(count, generator=generator) - 0.5) * 6.28
    boxes[0] = torch.tensor([2.5, 0.5, 0.0, 6.0, 2.0, 2.0, 1.5, 0, 0])  # beside the lens, from behind it to before it
    boxes[1] = torch.tensor([0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 0.0, 0, 0])  # around the lens
    turn = torch.tensor([[0.8, 0.6, 0, 0.3], [0.6, -0.8, 0, 0.2], [0, 0, 1, 0.1], [0, 0, 0, 1]])
    matrices = torch.stack((forward_camera(), forward_camera(55.0) @ turn)).expand(2, 2, 4, 4)
    mask = torch.tensor([[True, True], [True, False]])
    return boxes, torch.arange(count) % 2, matrices, mask


def test_rectangles_hold_what_is_seen_of_the_edges() -> None:
    boxes, sample, matrices, mask = scene()
    got = image_boxes(boxes, sample, matrices, mask, HW)
    corners = box_corners(boxes)
    faces = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)]
    share = torch.linspace(0, 1, 2001)[:, None]
    clipped = 0
    for k in range(len(boxes)):
        edges = torch.cat([corners[k, a] + share * (corners[k, b] - corners[k, a]) for a, b in faces])
        homogeneous = torch.cat((edges, torch.ones(len(edges), 1)), dim=1)
        for n in range(2):
            if not mask[sample[k], n]:
                assert not got.seen[k, n]
                continue
            uvd = homogeneous @ matrices[sample[k], n].T
            front = uvd[uvd[:, 2] >= NEAR_PLANE_M]
            pixels = front[:, :2] / front[:, 2:3]
            limits = torch.tensor([-0.5, -0.5, HW[1] - 0.5, HW[0] - 0.5])
            if not len(pixels):
                assert not got.seen[k, n]
                continue
            low, high = pixels.amin(0).clamp(min=limits[:2]), pixels.amax(0).clamp(max=limits[2:])
            if (high - low).min() < -0.1:
                assert not got.seen[k, n]
            elif (high - low).min() > 0.1:
                assert got.seen[k, n]
                clipped += bool(len(front) < len(uvd))
                torch.testing.assert_close(got.rectangle[k, n], torch.cat((low, high)), atol=0.1, rtol=0)
    assert got.seen.sum() > 15 and clipped >= 2


def test_depths_are_where_a_step_along_the_ray_first_enters_a_box() -> None:
    boxes, sample, matrices, mask = scene()
    boxes = torch.cat((boxes[:1], boxes[2:]))
    sample = torch.cat((sample[:1], sample[2:]))
    depth = box_depths(boxes, sample, matrices, mask, (4, 8), 8)
    steps = torch.arange(0.1, 30.0, 0.01)
    pixels = pixel_centres((4, 8), 8).view(-1, 1, 2).expand(-1, len(steps), 2)
    hits = 0
    for b, n in ((0, 0), (0, 1), (1, 0)):
        places = unproject(torch.linalg.inv(matrices[b, n]), pixels, steps.expand(32, -1))
        inside = points_in_boxes(places.reshape(-1, 3), boxes[sample == b, :7].contiguous()).view(32, -1) >= 0
        first = torch.where(inside.any(1), steps[inside.int().argmax(1)], torch.inf).view(4, 8)
        # A corner that is thinner than a step may be missed by it.
        both = first.isfinite() & depth[b, n].isfinite()
        assert (first.isfinite() != depth[b, n].isfinite()).sum() <= 1
        torch.testing.assert_close(depth[b, n][both], first[both], atol=0.011, rtol=0)
        hits += int(both.sum())
    assert hits > 20 and depth[1, 1].isinf().all()


def test_a_box_around_the_lens_and_no_box_at_all_have_no_face() -> None:
    boxes, sample, matrices, mask = scene()
    assert box_depths(boxes[1:2], sample[:1], matrices, mask, (4, 8), 8).isinf().all()
    assert box_depths(boxes[:0], sample[:0], matrices, mask, (4, 8), 8).isinf().all()


def test_autocast_leaves_geometry_in_full_precision() -> None:
    boxes, sample, matrices, mask = scene()
    plain = image_boxes(boxes, sample, matrices, mask, HW), box_depths(boxes, sample, matrices, mask, (4, 8), 8)
    with torch.autocast("cpu", torch.bfloat16):
        half = image_boxes(boxes, sample, matrices, mask, HW), box_depths(boxes, sample, matrices, mask, (4, 8), 8)
    assert torch.equal(plain[0].rectangle, half[0].rectangle) and torch.equal(plain[1], half[1])
