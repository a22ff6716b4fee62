"""The second look at candidates: what it sees in the images and what it learns, each against a loop."""

import math

import pytest
import torch
from torch import Tensor

from perception.geometry.grid import BEVGrid
from perception.head.center_head import Detections
from perception.head.rescorer import MATCH_DISTANCES_M, BoxRescorer, box_probabilities, match_shares, rescored

GRID = BEVGrid((-16.0, 16.0), (-16.0, 16.0), (-5.0, 3.0), (1.0, 1.0, 8.0))


def candidates(generator: torch.Generator, batch: int = 2, count: int = 40, classes: int = 3) -> Detections:
    boxes = torch.rand(batch, count, 9, generator=generator) * torch.tensor([24.0, 24, 2, 4, 2, 2, 6, 1, 1])
    boxes -= torch.tensor([12.0, 12, 1, 0, 0, 0, 3, 0, 0])
    scores = torch.rand(batch, count, generator=generator).sort(descending=True).values
    scores[:, -5:] = 0.0
    return Detections(boxes, scores, torch.randint(classes, (batch, count), generator=generator))


def rig(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Two cameras of 48 x 32 px, one looking along +y and one along -y; logits at a stride of eight."""
    ahead = torch.tensor([[30.0, 24, 0, 0], [0, 16, -30, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    behind = ahead @ torch.diag(torch.tensor([-1.0, -1, 1, 1]))
    logits = torch.randn(2, 2, 4, 4, 6, generator=generator)
    return logits, torch.stack((ahead, behind)).expand(2, 2, 4, 4), torch.tensor([[True, True], [True, False]])


def test_probabilities_are_the_mean_at_places_that_cameras_see() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = candidates(generator).boxes
    logits, matrices, mask = rig(generator)
    places = torch.tensor([[0.0, 0, 0], [0.35, 0, 0.35], [-0.35, 0.35, -0.35]])
    got = box_probabilities(boxes, logits, matrices, mask, places, 8)
    shares = logits.softmax(dim=2)
    partly = 0
    for b, k in torch.cartesian_prod(torch.arange(2), torch.arange(40)).tolist():
        x, y, z, length, width, height, yaw = boxes[b, k, :7].tolist()
        sums, count = torch.zeros(4), 0
        for place in places.tolist():
            u, v, w = place[0] * length, place[1] * width, place[2] * height
            point = [x + u * math.cos(yaw) - v * math.sin(yaw), y + u * math.sin(yaw) + v * math.cos(yaw), z + w, 1.0]
            for n in range(2):
                ud, vd, d = (matrices[b, n, :3] @ torch.tensor(point)).tolist()
                if not mask[b, n] or d <= 0.5 or not (-0.5 <= ud / d < 47.5 and -0.5 <= vd / d < 31.5):
                    continue
                # Between the centres of feature cells, at pixels 3.5, 11.5, ...
                column = min(max((ud / d + 0.5) / 8 - 0.5, 0), 5)
                row = min(max((vd / d + 0.5) / 8 - 0.5, 0), 3)
                for i in (math.floor(row), math.floor(row) + 1):
                    for j in (math.floor(column), math.floor(column) + 1):
                        if (share := max(0, 1 - abs(row - i)) * max(0, 1 - abs(column - j))) > 0:
                            sums += share * shares[b, n, :, i, j]
                count += 1
        partly += 0 < count < 3
        expected = torch.cat((sums / max(count, 1), torch.tensor([min(count / 3, 1.0)])))
        torch.testing.assert_close(got[b, k], expected, atol=1e-4, rtol=1e-4)
    assert partly > 3


def test_the_best_of_the_nearest_candidates_has_its_object() -> None:
    generator = torch.Generator().manual_seed(1)
    found = candidates(generator)
    boxes = candidates(generator, count=30).boxes.flatten(0, 1)
    labels, sample = torch.randint(3, (60,), generator=generator), torch.arange(2).repeat_interleave(30)
    got = match_shares(found, boxes, labels, sample)
    taken: set[int] = set()
    expected = torch.zeros(2, 40)
    for b in range(2):
        for k in range(40):
            gaps = [
                (math.dist(found.boxes[b, k, :2].tolist(), boxes[g, :2].tolist()), g)
                for g in range(60)
                if sample[g] == b and labels[g] == found.labels[b, k]
            ]
            gap, nearest = min(gaps)
            if gap < 4 and found.scores[b, k] > 0 and nearest not in taken:
                taken.add(nearest)
                expected[b, k] = sum(gap < limit for limit in MATCH_DISTANCES_M) / 4
    assert 5 < (expected > 0).sum() < 60 and len(expected.unique()) == 5
    torch.testing.assert_close(got, expected)
    assert not match_shares(found, boxes[:0], labels[:0], sample[:0]).any()


def test_classes_in_the_images_settle_what_the_heatmap_leaves_open() -> None:
    """Every object is found as two classes with like scores; its own class is what the camera shows."""
    generator = torch.Generator().manual_seed(2)
    torch.manual_seed(2)
    rescorer = BoxRescorer(3, channels=16).train()
    optimizer = torch.optim.Adam(rescorer.parameters(), 0.01)
    ahead = rig(generator)[1][:1, :1]
    everywhere = torch.ones(1, 1).bool()

    def scene() -> tuple[Detections, Tensor, Tensor, Tensor]:
        # 10 m ahead a column of features is 2.67 m wide: one object in each of the six.
        boxes = torch.zeros(1, 12, 9)
        boxes[0, :, 0] = (torch.arange(12) % 6 * 8 + 3.5 - 24) / 3
        boxes[..., 1], boxes[..., 3:6] = 10.0, 1.0
        truth = torch.randint(2, (6,), generator=generator)
        logits = torch.full((1, 1, 4, 4, 6), -4.0)
        logits[0, 0, truth, :, torch.arange(6)] = 4.0
        order = torch.rand(12, generator=generator).argsort()
        found = Detections(boxes[:, order], torch.linspace(0.6, 0.4, 12)[None], (torch.arange(12) // 6)[order][None])
        return found, logits, boxes[0, :6], truth

    def look(found: Detections, logits: Tensor) -> Tensor:
        there = torch.ones(1).bool()
        return rescorer(found, torch.zeros(1, 3, 32, 32), GRID, logits, ahead, everywhere, there, 8)

    for _ in range(150):
        found, shown, boxes, truth = scene()
        loss = rescorer.loss(look(found, shown), found, boxes, truth, torch.zeros(6, dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rescorer.eval()
    found, shown, boxes, truth = scene()
    with torch.no_grad():
        again = rescored(found, look(found, shown))
    right = match_shares(again, boxes, truth, torch.zeros(6, dtype=torch.long)) > 0
    assert right.sum() == 6 and again.scores[right].min() > again.scores[~right].max() + 0.2
    assert (again.scores[0].diff() <= 0).all()


def test_candidates_without_a_score_stay_without() -> None:
    found = candidates(torch.Generator().manual_seed(3))
    again = rescored(found, torch.full((2, 40), 3.0))
    assert (again.scores > 0).sum() == 70 and (again.scores[:, -5:] == 0).all()


def test_a_candidate_that_no_camera_sees_keeps_its_score() -> None:
    torch.manual_seed(0)
    rescorer = BoxRescorer(3).eval()
    torch.nn.init.normal_(rescorer.layers[-1].weight, std=0.1)
    generator = torch.Generator().manual_seed(5)
    found, (logits, matrices, mask) = candidates(generator), rig(generator)
    heatmap, there = torch.randn(2, 3, 32, 32, generator=generator), torch.ones(2).bool()
    with torch.no_grad():
        scores = rescorer(found, heatmap, GRID, logits, matrices, mask, there, 8).sigmoid()
    seen = box_probabilities(found.boxes, logits, matrices, mask, rescorer.places, 8)[..., -1] > 0
    same = (scores - found.scores).abs() < 2e-4
    assert same[~seen].all() and 10 < seen.sum() < 70 and not same[seen & (found.scores > 0)].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_stays_in_float32_when_the_network_is_cast(dtype: torch.dtype) -> None:
    rescorer = BoxRescorer(3).eval()
    generator = torch.Generator().manual_seed(4)
    found, (logits, matrices, mask) = candidates(generator), rig(generator)
    heatmap, there = torch.randn(2, 3, 32, 32, generator=generator), torch.ones(2).bool()
    known = rescorer(found, heatmap, GRID, logits, matrices, mask, there, 8)
    assert torch.equal(rescorer.to(dtype)(found, heatmap, GRID, logits, matrices, mask, there, 8), known)
