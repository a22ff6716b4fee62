"""The second stage: what it reads in map and images, what it learns and what it changes, each against a loop."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from perception.geometry.grid import BEVGrid
from perception.head.box_sampling import crop_images, image_rectangles, sample_images, sample_map, side_middles
from perception.head.candidate_matching import MATCH_DISTANCES_M, match_candidates, shown_classes
from perception.head.center_head import Detections
from perception.head.crop_encoder import CropEncoder, crops_of
from perception.head.second_stage import (
    CameraEvidence,
    Corrections,
    SecondStage,
    corrected,
    corrected_boxes,
    correction_target,
)

GRID = BEVGrid((-16.0, 16.0), (-16.0, 16.0), (-5.0, 3.0), (1.0, 1.0, 8.0))


def candidates(generator: torch.Generator, batch: int = 2, count: int = 40, classes: int = 3) -> Detections:
    boxes = torch.rand(batch, count, 9, generator=generator) * torch.tensor([24.0, 24, 2, 4, 2, 2, 6, 1, 1])
    boxes -= torch.tensor([12.0, 12, 1, 0, 0, 0, 3, 0, 0])
    scores = torch.rand(batch, count, generator=generator).sort(descending=True).values
    scores[:, -5:] = 0.0
    return Detections(boxes, scores, torch.randint(classes, (batch, count), generator=generator))


def rig(generator: torch.Generator) -> CameraEvidence:
    """Two cameras of 48 x 32 px, one looking along +y and one 40 degrees further right; features of stride eight."""
    ahead = torch.tensor([[30.0, 24, 0, 0], [0, 16, -30, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    turn = torch.tensor([[0.766, -0.643, 0, 0], [0.643, 0.766, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    logits, features = (torch.randn(2, 2, channels, 4, 6, generator=generator) for channels in (4, 5))
    mask = torch.tensor([[True, True], [True, False]])
    images = torch.randint(256, (2, 2, 3, 32, 48), dtype=torch.uint8, generator=generator)
    return CameraEvidence(images, features, logits, torch.stack((ahead, ahead @ turn)).expand(2, 2, 4, 4), mask, 8)


def scene_of(generator: torch.Generator) -> tuple[Detections, Tensor, Tensor, BEVGrid, Tensor, CameraEvidence]:
    """What a second stage for three classes, a map of 6 channels and features of 5 takes."""
    maps = (torch.randn(2, channels, 32, 32, generator=generator) for channels in (3, 6))
    return candidates(generator), *maps, GRID, torch.ones(2).bool(), rig(generator)


def opinionated(image_channels: int = 5) -> SecondStage:
    """A second stage whose corrections are not zero."""
    torch.manual_seed(0)
    stage = SecondStage(3, 6, image_channels).eval()
    for layers in (stage.by_map, *([stage.images.layers] if stage.images else [])):
        torch.nn.init.normal_(layers[-1].weight, std=0.1)
    return stage


def test_images_are_read_at_places_that_cameras_see() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = candidates(generator).boxes
    shown = rig(generator)
    places = torch.tensor([[0.0, 0, 0], [0.35, 0, 0.35], [-0.35, 0.35, -0.35]])
    matrices, mask = shown.image_from_lidar, shown.camera_mask
    got, got_seen = sample_images(boxes, shown.features, matrices, mask, places, 8)
    partly = both = 0
    for b, k in torch.cartesian_prod(torch.arange(2), torch.arange(40)).tolist():
        x, y, z, length, width, height, yaw = boxes[b, k, :7].tolist()
        # What each camera shows of the places that it sees.
        of_camera: list[dict[int, Tensor]] = [{}, {}]
        for p, place in enumerate(places.tolist()):
            u, v, w = place[0] * length, place[1] * width, place[2] * height
            point = [x + u * math.cos(yaw) - v * math.sin(yaw), y + u * math.sin(yaw) + v * math.cos(yaw), z + w, 1.0]
            for n in range(2):
                ud, vd, d = (matrices[b, n, :3] @ torch.tensor(point)).tolist()
                if not mask[b, n] or d <= 0.5 or not (-0.5 <= ud / d < 47.5 and -0.5 <= vd / d < 31.5):
                    continue
                # Between the centres of feature cells, at pixels 3.5, 11.5, ...
                column = min(max((ud / d + 0.5) / 8 - 0.5, 0), 5)
                row = min(max((vd / d + 0.5) / 8 - 0.5, 0), 3)
                of_camera[n][p] = torch.zeros(5)
                for i in (math.floor(row), math.floor(row) + 1):
                    for j in (math.floor(column), math.floor(column) + 1):
                        if (share := max(0, 1 - abs(row - i)) * max(0, 1 - abs(column - j))) > 0:
                            of_camera[n][p] += share * shown.features[b, n, :, i, j]
        best = of_camera[len(of_camera[1]) > len(of_camera[0])]
        for p in range(3):
            assert got_seen[b, k, p] == (p in best)
            torch.testing.assert_close(got[b, k, p], best.get(p, torch.zeros(5)), atol=1e-4, rtol=1e-4)
        both += bool(of_camera[0]) and bool(of_camera[1])
        partly += 0 < got_seen[b, k].sum() < 3
    assert partly > 1 and both > 3


def test_a_crop_is_what_the_camera_that_sees_most_of_a_box_shows_of_it() -> None:
    generator = torch.Generator().manual_seed(10)
    boxes = candidates(generator).boxes
    shown = rig(generator)
    rectangles = image_rectangles(boxes, shown.image_from_lidar, shown.camera_mask, (32, 48))
    crops = crop_images(shown.images, rectangles, 4)
    cut = second = 0
    for b, k in torch.cartesian_prod(torch.arange(2), torch.arange(40)).tolist():
        x, y, z, length, width, height, yaw = boxes[b, k, :7].tolist()
        seen = []  # share, rectangle and number of each camera
        for n in range(2):
            corners = []
            for u, v, w in itertools.product(
                (-length / 2, length / 2), (-width / 2, width / 2), (-height / 2, height / 2)
            ):
                at = [x + u * math.cos(yaw) - v * math.sin(yaw), y + u * math.sin(yaw) + v * math.cos(yaw), z + w, 1.0]
                corners.append((shown.image_from_lidar[b, n, :3] @ torch.tensor(at)).tolist())
            if not shown.camera_mask[b, n] or min(d for _, _, d in corners) <= 0.5:
                continue
            us, vs = [ud / d + 0.5 for ud, _, d in corners], [vd / d + 0.5 for _, vd, d in corners]
            left, right, top, bottom = min(us), max(us), min(vs), max(vs)
            across = max(0.0, min(right, 48) - max(left, 0)) * max(0.0, min(bottom, 32) - max(top, 0))
            seen.append((across / ((right - left) * (bottom - top)), (left, top, right, bottom), n))
        share, rectangle, n = max(seen, key=lambda one: (one[0], -one[2]), default=(0.0, (0.0,) * 4, 0))
        assert float(rectangles.share[b, k]) == pytest.approx(share, abs=1e-4)
        if share == 0:
            continue
        got = (*rectangles.low[b, k].tolist(), *rectangles.high[b, k].tolist())
        assert rectangles.camera[b, k] == n and got == pytest.approx(rectangle, abs=1e-2, rel=1e-4)
        cut += share < 1
        second += n == 1
        left, top, right, bottom = got
        for i, j in itertools.product(range(4), range(4)):
            u, v = left + (j + 0.5) / 4 * (right - left), top + (i + 0.5) / 4 * (bottom - top)
            expected = torch.zeros(3)
            if 0 <= u <= 48 and 0 <= v <= 32:
                # Between the centres of pixels.
                column, row = min(max(u - 0.5, 0), 47), min(max(v - 0.5, 0), 31)
                for p, q in itertools.product(
                    (math.floor(row), math.floor(row) + 1), (math.floor(column), math.floor(column) + 1)
                ):
                    if (part := max(0, 1 - abs(row - p)) * max(0, 1 - abs(column - q))) > 0:
                        expected += part * shown.images[b, n, :, p, q]
            torch.testing.assert_close(crops[b, k, :, i, j], expected, atol=0.1, rtol=1e-3)
    assert cut > 5 and second > 5


def test_crops_for_training_differ_and_show_the_same_place() -> None:
    generator = torch.Generator().manual_seed(11)
    boxes, shown = candidates(generator).boxes, rig(generator)
    scene = boxes, shown.images, shown.image_from_lidar, shown.camera_mask
    plain, shapes = crops_of(*scene)
    varied, same = crops_of(*scene, variation=1.0)
    seen = shapes[..., 2] > 0.9
    assert torch.equal(shapes, same) and seen.sum() > 10
    gap = (varied - plain).abs()[seen].mean()
    other = (varied - plain.roll(1, dims=1)).abs()[seen].mean()
    assert 2 < gap < 0.8 * other and varied.min() >= 0 and varied.max() <= 255
    absent = crops_of(*scene[:3], torch.zeros_like(shown.camera_mask))[1]
    assert not absent.any()


def test_crops_that_are_not_there_do_not_count_in_the_norms() -> None:
    torch.manual_seed(12)
    encoder, crops = CropEncoder(8, width=4), torch.rand(10, 3, 32, 32) * 255
    seen = torch.arange(10) < 6
    encoder.train()(crops, seen)
    some = [norm.running_mean.clone() for norm in encoder.modules() if isinstance(norm, torch.nn.BatchNorm2d)]
    torch.manual_seed(12)
    encoder = CropEncoder(8, width=4).train()
    encoder(crops[:6], seen[:6])
    alone = [norm.running_mean for norm in encoder.modules() if isinstance(norm, torch.nn.BatchNorm2d)]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(some, alone, strict=True))
    assert torch.isfinite(encoder(crops, torch.zeros(10).bool())).all()  # no crop at all


def test_a_crop_shows_the_nearest_object_or_none() -> None:
    generator = torch.Generator().manual_seed(13)
    found = candidates(generator).boxes
    boxes = candidates(generator, count=15).boxes.flatten(0, 1)
    labels, sample = torch.randint(3, (30,), generator=generator), torch.arange(2).repeat_interleave(15)
    got = shown_classes(found, boxes, labels, sample, 3)
    for b in range(2):
        for k in range(40):
            gap, label = min(
                (math.dist(found[b, k, :2].tolist(), boxes[g, :2].tolist()), int(labels[g]))
                for g in range(30)
                if sample[g] == b
            )
            assert got[b, k] == (label if gap < 1 else 3 if gap > 3 else -1)
    assert set(got.flatten().tolist()) == {-1, 0, 1, 2, 3}
    assert (shown_classes(found, boxes[:0], labels[:0], sample[:0], 3) == 3).all()


def test_the_map_is_read_at_the_centre_and_the_middles_of_the_sides() -> None:
    generator = torch.Generator().manual_seed(6)
    boxes, bev = candidates(generator).boxes, torch.randn(2, 4, 32, 32, generator=generator)
    got = sample_map(bev, side_middles(boxes), GRID)
    for b, k in torch.cartesian_prod(torch.arange(2), torch.arange(40)).tolist():
        x, y, _, length, width, _, yaw = boxes[b, k, :7].tolist()
        ahead, left = complex(math.cos(yaw), math.sin(yaw)), complex(-math.sin(yaw), math.cos(yaw))
        steps = (0, ahead * length / 2, -ahead * length / 2, left * width / 2, -left * width / 2)
        for p, step in enumerate(steps):
            # Between the centres of cells of a metre, the first of which is at -15.5 m.
            column = min(max(x + complex(step).real + 15.5, 0), 31)
            row = min(max(y + complex(step).imag + 15.5, 0), 31)
            expected = sum(
                max(0, 1 - abs(row - i)) * max(0, 1 - abs(column - j)) * bev[b, :, min(i, 31), min(j, 31)]
                for i in (math.floor(row), math.floor(row) + 1)
                for j in (math.floor(column), math.floor(column) + 1)
            )
            torch.testing.assert_close(got[b, k, p], expected, atol=1e-4, rtol=1e-4)


def test_the_best_of_the_nearest_candidates_has_its_object() -> None:
    generator = torch.Generator().manual_seed(1)
    found = candidates(generator)
    boxes = candidates(generator, count=30).boxes.flatten(0, 1)
    labels, sample = torch.randint(3, (60,), generator=generator), torch.arange(2).repeat_interleave(30)
    got = match_candidates(found, boxes, labels, sample)
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
            near = gap < 4 and found.scores[b, k] > 0
            assert got.paired[b, k] == (near and gap < 2)
            assert torch.equal(got.boxes[b, k], boxes[nearest] if near else found.boxes[b, k])
            if near and nearest not in taken:
                taken.add(nearest)
                expected[b, k] = sum(gap < limit for limit in MATCH_DISTANCES_M) / 4
    assert 5 < (expected > 0).sum() < 60 and len(expected.unique()) == 5
    torch.testing.assert_close(got.shares, expected)
    nothing = match_candidates(found, boxes[:0], labels[:0], sample[:0])
    assert not nothing.shares.any() and not nothing.paired.any()


def test_a_correction_moves_turns_and_scales_in_the_boxs_own_axes() -> None:
    generator = torch.Generator().manual_seed(7)
    boxes = candidates(generator, batch=1, count=30).boxes
    boxes[..., 3:6] += 0.5
    correction = torch.randn(1, 30, 11, generator=generator) * 0.3
    got = corrected_boxes(boxes, correction)
    for box, change, out in zip(boxes[0].tolist(), correction[0].tolist(), got[0].tolist(), strict=True):
        _, along, across, up, length, width, height, cosine, sine, fast, sideways = change
        turn = complex(math.cos(box[6]), math.sin(box[6]))
        place = complex(box[0], box[1]) + complex(along, across) * turn
        heading = turn * complex(1 + cosine, sine)
        velocity = complex(box[7], box[8]) + 8 * complex(fast, sideways) * turn
        sizes = [size * math.exp(log) for size, log in zip(box[3:6], (length, width, height), strict=True)]
        expected = [place.real, place.imag, box[2] + up, *sizes]
        assert out[:6] == pytest.approx(expected, abs=1e-4)
        assert complex(math.cos(out[6]), math.sin(out[6])) == pytest.approx(heading / abs(heading), abs=1e-4)
        assert complex(out[7], out[8]) == pytest.approx(velocity, abs=1e-4)


def test_the_target_makes_a_box_its_object() -> None:
    generator = torch.Generator().manual_seed(8)
    boxes = candidates(generator).boxes
    boxes[..., 3:6] += 0.5
    objects = boxes + torch.randn(boxes.shape, generator=generator) * 0.3
    objects[..., 6] += 3.0
    objects[..., 3:6] = boxes[..., 3:6] * 1.3
    target = correction_target(boxes, objects)
    got = corrected_boxes(boxes, torch.cat((torch.zeros(2, 40, 1), target), dim=-1))
    gap = got - objects
    gap[..., 6] = torch.remainder(gap[..., 6] + math.pi, 2 * math.pi) - math.pi
    assert gap.abs().max() < 1e-4


def test_the_losses_are_those_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(9)
    found = candidates(generator)
    boxes = candidates(generator, count=30).boxes.flatten(0, 1)
    boxes[::3, 7:] = torch.nan  # velocities that are not known
    labels, sample = torch.randint(3, (60,), generator=generator), torch.arange(2).repeat_interleave(30)
    by_all, by_map = torch.randn(2, 2, 40, 11, generator=generator) * 0.1
    crop_logits, cropped = torch.randn(2, 40, 4, generator=generator), torch.rand(2, 40, generator=generator) < 0.7
    corrections = Corrections(by_all, by_map, crop_logits, cropped)
    got = SecondStage(3, 6).loss(corrections, found, boxes, labels, sample)
    matches = match_candidates(found, boxes, labels, sample)
    target = correction_target(found.boxes, matches.boxes)
    rescore, refine = 0.0, 0.0
    counted = int((found.scores > 0).sum())
    pairs = int(matches.paired.sum())
    for correction in (by_all, by_map):
        for b, k in torch.cartesian_prod(torch.arange(2), torch.arange(40)).tolist():
            score, share = float(found.scores[b, k]), float(matches.shares[b, k])
            if score == 0:
                continue
            logit = math.log(score / (1 - score)) + 10 * float(correction[b, k, 0])
            rescore -= (
                share * math.log(1 / (1 + math.exp(-logit))) - (1 - share) * math.log1p(math.exp(logit))
            ) / counted
            if matches.paired[b, k]:
                gaps = zip(correction[b, k, 1:].tolist(), target[b, k].tolist(), strict=True)
                refine += sum(abs(c - t) for c, t in gaps if not math.isnan(t)) / 10 / pairs
    assert float(got["loss_rescore"]) == pytest.approx(rescore, rel=1e-4)
    assert float(got["loss_refine"]) == pytest.approx(refine, rel=1e-4)
    assert pairs > 5
    shown = shown_classes(found.boxes, boxes, labels, sample, 3)
    wrong = weights = 0.0
    for b, k in torch.cartesian_prod(torch.arange(2), torch.arange(40)).tolist():
        if cropped[b, k] and shown[b, k] >= 0:
            weight = 0.2 if shown[b, k] == 3 else 1.0
            weights += weight
            wrong -= weight * float(crop_logits[b, k].log_softmax(dim=0)[shown[b, k]])
    assert float(got["loss_crop"]) == pytest.approx(wrong / weights, rel=1e-4)
    nothing = SecondStage(3, 6).loss(Corrections(by_all, by_map), found, boxes[:0], labels[:0], sample[:0])
    assert nothing["loss_refine"] == 0 and torch.isfinite(nothing["loss_rescore"])


def test_classes_in_the_images_settle_what_the_heatmap_leaves_open() -> None:
    """Every object is found as two classes with like scores, 0.3 m beside itself; its own class is what the camera
    shows, and the way back what the map holds."""
    generator = torch.Generator().manual_seed(2)
    torch.manual_seed(2)
    stage = SecondStage(3, 1, 5, channels=16).train()
    optimizer = torch.optim.Adam(stage.parameters(), 0.01)
    ahead = rig(generator).image_from_lidar[:1, :1]
    there = torch.ones(1, 1).bool()

    def scene() -> tuple[Detections, Corrections, Tensor, Tensor]:
        # 10 m ahead a column of features is 2.67 m wide: one object in each of the six.
        boxes = torch.zeros(1, 12, 9)
        boxes[0, :, 0] = (torch.arange(12) % 6 * 8 + 3.5 - 24) / 3
        boxes[..., 1], boxes[..., 3:6] = 10.0, 1.0
        objects = boxes[0, :6].clone()
        sides = torch.randint(2, (6,), generator=generator) * 2.0 - 1
        objects[:, 1] += 0.3 * sides
        nearest = (objects[:, 0, None] - torch.arange(-15.5, 16.0)).abs().argmin(dim=0)
        truth = torch.randint(2, (6,), generator=generator)
        logits = torch.full((1, 1, 4, 4, 6), -4.0)
        logits[0, 0, truth, :, torch.arange(6)] = 4.0
        order = torch.rand(12, generator=generator).argsort()
        found = Detections(boxes[:, order], torch.linspace(0.6, 0.4, 12)[None], (torch.arange(12) // 6)[order][None])
        images = torch.zeros(1, 1, 3, 32, 48)
        shown = CameraEvidence(images, torch.zeros(1, 1, 5, 4, 6), logits, ahead, there, 8)
        bev = sides[nearest].expand(1, 1, 32, 32)  # of each column of cells the nearest object's
        known = stage.evidence(found, torch.zeros(1, 3, 32, 32), bev, GRID, there[0], shown)
        return found, stage(*known), objects, truth

    sample = torch.zeros(6, dtype=torch.long)
    for _ in range(400):
        found, corrections, objects, truth = scene()
        loss = sum(stage.loss(corrections, found, objects, truth, sample).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    stage.eval()
    with torch.no_grad():
        found, corrections, objects, truth = scene()
    again = corrected(found, corrections.by_all)
    right = match_candidates(again, objects, truth, sample).shares > 0
    assert right.sum() == 6 and again.scores[right].min() > again.scores[~right].max() + 0.2
    assert (again.scores[0].diff() <= 0).all()
    assert torch.cdist(again.boxes[right][:, :2], objects[:, :2]).min(dim=1).values.max() < 0.15
    by_map = corrected(found, corrections.by_map)
    wrong = match_candidates(by_map, objects, truth, sample).shares == 0
    assert (by_map.scores[wrong] > 0.3).any()  # the map does not know the class


def test_candidates_without_a_score_stay_without() -> None:
    found = candidates(torch.Generator().manual_seed(3))
    again = corrected(found, torch.full((2, 40, 11), 0.3))
    assert (again.scores > 0).sum() == 70 and (again.scores[:, -5:] == 0).all()


def test_a_candidate_that_no_camera_sees_is_corrected_by_the_map_alone() -> None:
    stage = opinionated()
    scene = scene_of(torch.Generator().manual_seed(5))
    with torch.no_grad():
        known = stage.evidence(*scene)
        both, alone = stage(*known), stage(*stage.evidence(*scene[:-1]))
    seen = (known.classes[..., -1] > 0) | (known.shapes[..., -1] > 0)
    assert torch.equal(both.by_map, alone.by_all) and alone.by_all is alone.by_map
    assert torch.equal(both.by_all[~seen], both.by_map[~seen]) and 10 < seen.sum() < 70
    assert not (both.by_all[seen] == both.by_map[seen]).any()


def test_at_first_nothing_is_corrected() -> None:
    stage = SecondStage(3, 6, 5).eval()
    scene = scene_of(torch.Generator().manual_seed(5))
    with torch.no_grad():
        again = corrected(scene[0], stage(*stage.evidence(*scene)).by_all)
    torch.testing.assert_close(again.boxes[:, :35], scene[0].boxes[:, :35])
    torch.testing.assert_close(again.scores, scene[0].scores)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_stays_in_float32_when_the_network_is_cast(dtype: torch.dtype) -> None:
    stage, scene = opinionated(), scene_of(torch.Generator().manual_seed(4))
    known = stage(*stage.evidence(*scene))
    stage.to(dtype)
    assert torch.equal(stage(*stage.evidence(*scene)).by_all, known.by_all)
