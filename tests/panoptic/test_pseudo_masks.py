"""Pseudo masks and the losses from points."""

import numpy as np
import pytest
import torch
from scipy.ndimage import label as connected
from torch import Tensor
from torch.nn import functional as F

from perception.camera.neck import TridentNeck
from perception.camera.panoptic import PanopticNetwork
from perception.camera.panoptic_head import PanopticHead, PanopticOutput, merge_masks
from perception.camera.panoptic_loss import PanopticLoss, colour_prior, contrast, point_loss
from perception.camera.pseudo_masks import (
    CostWeights,
    Targets,
    class_costs,
    known_classes,
    mask_iou,
    neighbour_pairs,
    pseudo_masks,
    step_costs,
)
from perception.camera.trident import TridentResNet
from perception.engine.matching import hungarian
from perception.ops.least_cost_paths import EDGES

OFF = {"semantic": 0.0, "boundary": 0.0, "embedding": 0.0}


def three_maps(height: int = 12, width: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    """Semantics, colour and embedding of two halves; each sees the border at another column."""
    semantic = torch.zeros(1, 2, height, width)
    semantic[:, 0, :, :6] = semantic[:, 1, :, 6:] = 8.0
    colour = torch.zeros(1, 3, height, width)
    colour[..., 10:] = 1.0
    embedding = torch.zeros(1, 2, height, width)
    embedding[:, 0, :, :14] = embedding[:, 1, :, 14:] = 1.0
    return semantic, colour, embedding


@pytest.mark.parametrize(("term", "border"), [("semantic", 6), ("boundary", 10), ("embedding", 14)])
def test_each_term_sees_its_border_and_can_be_off(term: str, border: int) -> None:
    points = [torch.tensor([[5, 1, 0, 0], [5, 18, 1, 1]])]
    weights = CostWeights(**{**OFF, term: 1.0})
    (found,) = pseudo_masks(step_costs(*three_maps(), weights), points)
    assert found.labels.tolist() == [0, 1]
    assert torch.equal(found.map, (torch.arange(20) >= border).long().expand(12, -1))
    nothing = step_costs(*three_maps(), CostWeights(**OFF))
    assert nothing[0, :2].unique().numel() == 1  # the length alone


def test_neighbours_are_the_edges() -> None:
    values = torch.arange(30.0).view(1, 1, 5, 6)
    for (a, b), (down, right) in zip(neighbour_pairs(values), EDGES, strict=True):
        inner = slice(1, 5)
        assert torch.equal(a, values)
        assert torch.equal(b[..., :4, inner], values[..., down : 4 + down, 1 + right : 5 + right])


def test_images_without_points_and_several_points_of_a_target() -> None:
    costs = torch.ones(3, 4, 6, 9)
    points = [
        torch.tensor([[0, 0, 2, 0], [5, 8, 2, 0], [0, 8, 1, 1]]),
        torch.zeros(0, 4, dtype=torch.long),
        torch.tensor([[3, 3, 4, 0]]),
    ]
    first, none, last = pseudo_masks(costs, points)
    assert first.labels.tolist() == [2, 1] and first.map[0, 0] == first.map[5, 8] == 0 and first.map[0, 8] == 1
    assert none.labels.tolist() == [] and (none.map == -1).all()
    assert last.labels.tolist() == [4] and (last.map == 0).all()


def test_pseudo_masks_of_true_semantics_are_the_connected_regions() -> None:
    """With a wall at every border, a region that holds one point is found whole."""
    rng = np.random.default_rng(0)
    kinds = np.kron(rng.integers(0, 3, (4, 6)), np.ones((6, 6), dtype=np.int64))
    regions, targets, points = np.zeros_like(kinds), 0, []
    for kind in range(3):
        parts, count = connected(kinds == kind, np.ones((3, 3)))
        for part in range(1, count + 1):
            regions[parts == part] = targets
            row, column = np.argwhere(parts == part)[rng.integers((parts == part).sum())]
            points.append((row, column, kind, targets))
            targets += 1
    semantic = 20 * F.one_hot(torch.from_numpy(kinds)).permute(2, 0, 1)[None].float()
    weights = CostWeights(semantic=100.0, boundary=0.0, embedding=0.0)
    costs = step_costs(semantic, torch.zeros(1, 3, 24, 36), torch.zeros(1, 2, 24, 36), weights)
    (found,) = pseudo_masks(costs, [torch.tensor(points)])
    assert torch.equal(found.map, torch.from_numpy(regions))
    assert mask_iou(found, Targets(found.labels, torch.from_numpy(regions))).tolist() == [1.0] * targets


def test_likely_classes_join_what_an_object_cuts_apart() -> None:
    """A car stands across the road: the road's far side is nearer to the car's point, but it looks like the road."""
    car = torch.zeros(1, 4, 30, dtype=torch.bool)
    car[..., 10:14] = True
    semantic = 6 * torch.stack((car, ~car, torch.zeros_like(car)), dim=1).float()
    points = [torch.tensor([[2, 2, 1, 0], [2, 12, 0, 1]])]
    for likelihood, whole in ((0.0, False), (1.0, True)):
        weights = CostWeights(boundary=0.0, embedding=0.0, class_likelihood=likelihood)
        costs = step_costs(semantic, torch.zeros(1, 3, 4, 30), torch.zeros(1, 2, 4, 30), weights)
        (found,) = pseudo_masks(costs, points, class_costs(semantic, weights))
        assert torch.equal(found.map == 1, car[0]) == whole
        assert found.labels.tolist() == [1, 0]
    assert class_costs(semantic, CostWeights(semantic=0.0)).count_nonzero() == 0


def test_classes_without_a_point_are_not_in_the_image() -> None:
    semantic = torch.randn(2, 4, 3, 5)
    known = known_classes(semantic, [torch.tensor([[0, 0, 3, 0], [1, 1, 1, 1]]), torch.zeros(0, 4, dtype=torch.long)])
    assert torch.equal(known[0, [1, 3]], semantic[0, [1, 3]]) and (known[0, [0, 2]] == -1e4).all()
    assert torch.equal(known[1], semantic[1])


def test_mask_iou() -> None:
    found = Targets(torch.tensor([0, 1]), torch.tensor([[0, 0, 1, 1]]))
    truth = Targets(torch.tensor([0, 1]), torch.tensor([[0, 1, 1, -1]]))
    assert mask_iou(found, truth).tolist() == [0.5, 0.5]


def test_losses_by_hand() -> None:
    semantic = torch.randn(1, 3, 4, 5)
    points = [torch.tensor([[1, 2, 0, 0], [0, 0, 1, 1], [3, 4, 2, 2]])]
    thing, other, stuff = (-semantic.log_softmax(1)[0, k, y, x] for y, x, k, _ in points[0].tolist())
    assert point_loss(semantic, points, things=2) == pytest.approx(float((thing + other) / 4 + stuff / 2), rel=1e-5)
    assert point_loss(semantic, [points[0][:2]], things=2) == pytest.approx(float(thing + other) / 2, rel=1e-5)
    assert point_loss(semantic, [points[0][:0]], things=2) == 0.0
    # Unlike colours have no prior; alike ones are judged by how sure the neighbours are to be of one class.
    colour = torch.zeros(1, 3, 1, 2)
    sure = torch.tensor([[[[9.0, 9.0]], [[-9.0, -9.0]]]])
    torn = torch.tensor([[[[9.0, -9.0]], [[-9.0, 9.0]]]])
    assert colour_prior(sure, colour, 0.9) < 1e-3 < colour_prior(torn, colour, 0.9)
    embedding = F.normalize(torch.randn(1, 4, 2, 3), dim=1)
    target = Targets(torch.tensor([0, 0]), torch.tensor([[0, 0, 1], [-1, 1, 1]]))
    means = [F.normalize(embedding[0, :, target.map == k].sum(1), dim=0) for k in (0, 1)]
    # The third point's target has lost its mask, so there is nothing to draw it to.
    labelled = torch.tensor([[0, 0, 0, 0], [1, 2, 0, 1], [0, 1, 1, 2]])
    each = []
    for row, column, _, k in labelled[:2].tolist():
        logits = torch.stack([embedding[0, :, row, column] @ mean / 0.1 for mean in means])
        each.append(F.cross_entropy(logits, torch.tensor(k)))
    target = Targets(torch.tensor([0, 0, 1]), target.map)
    assert contrast(embedding, [target], [labelled]) == pytest.approx(float(sum(each)) / 2, rel=1e-4)
    assert contrast(embedding, [target], [labelled[:0]]) == 0.0


@pytest.fixture(scope="module")
def network() -> PanopticNetwork:
    torch.manual_seed(0)
    head = PanopticHead(16, things=2, stuff=2, channels=16, hidden=16, query_grid=(2, 4))
    return PanopticNetwork(TridentResNet(18, base_channels=16), TridentNeck((32, 64), 16), head)


def test_loss_reaches_every_weight(network: PanopticNetwork) -> None:
    network.train()
    images = torch.randint(0, 255, (2, 3, 32, 64), dtype=torch.uint8)
    points = [torch.tensor([[1, 2, 0, 0], [6, 8, 2, 1], [2, 12, 3, 2]]), torch.zeros(0, 4, dtype=torch.long)]
    criterion = PanopticLoss(hungarian, warm_up_steps=2)
    truth = [Targets(torch.tensor([0, 2, 3]), torch.randint(0, 3, (8, 16))), None]
    first, second = (criterion(network(images), images, points, truth) for _ in range(2))
    assert 0 <= first["pseudo_miou"] <= 1
    assert second["loss_mask"] > 1.5 * first["loss_mask"] > 0  # the warm-up: half of the weight, then all
    network.zero_grad()
    sum(loss for name, loss in second.items() if name.startswith("loss")).backward()  # type: ignore[union-attr]
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without
    with pytest.raises(ValueError, match="true masks of every image"):
        criterion(network(images), images, points, truth, from_truth=True)


def test_losses_are_float32_under_autocast(network: PanopticNetwork) -> None:
    images = torch.randint(0, 255, (1, 3, 32, 64), dtype=torch.uint8)
    points = [torch.tensor([[1, 2, 0, 0], [6, 8, 2, 1], [2, 12, 3, 2]])]
    with torch.autocast("cpu", torch.bfloat16):
        losses = PanopticLoss(hungarian)(network(images), images, points, [None])
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


def test_learns_one_image(network: PanopticNetwork) -> None:
    """Two flat halves and a box: from three points the network finds the three masks."""
    torch.manual_seed(0)
    network.train()
    image = torch.zeros(1, 3, 32, 64)
    image[:, 1, 16:] = 200.0
    image[:, :, 8:24, 8:32] = torch.tensor([250.0, 0.0, 0.0])[:, None, None]
    points = [torch.tensor([[4, 5, 1, 0], [7, 12, 2, 1], [1, 12, 3, 2]])]
    criterion = PanopticLoss(hungarian, warm_up_steps=5)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(40):
        losses = criterion(network(image.repeat(2, 1, 1, 1)), image.repeat(2, 1, 1, 1), points * 2, [None, None])
        optimiser.zero_grad()
        sum(loss for name, loss in losses.items() if name.startswith("loss")).backward()  # type: ignore[union-attr]
        optimiser.step()
    found = merge_masks(network(image), (32, 64))[0]
    assert sorted(found.label.tolist()) == [1, 2, 3]
    box = found.segment[8:24, 8:32] == found.label.tolist().index(1)
    assert box.float().mean() > 0.8
    ground = found.segment[25:] == found.label.tolist().index(2)
    assert ground.float().mean() > 0.9


def test_merge_leaves_out_what_is_hidden_unsure_or_small() -> None:
    masks = torch.full((1, 1, 4, 8, 8), -9.0)
    masks[0, 0, 0, :, :4] = 9.0  # a thing
    masks[0, 0, 1, :, :4] = 8.0  # the same once more, less sure: hidden
    masks[0, 0, 3] = 2.0  # stuff everywhere
    classes = torch.tensor([[[[5.0, 0, 0], [4.0, 0, 0], [0, 0, 5.0]]]])
    output = PanopticOutput(torch.zeros(1, 3, 8, 8), torch.zeros(1, 2, 8, 8), masks, classes)
    (found,) = merge_masks(output, (32, 32))
    assert found.label.tolist() == [0, 2]
    assert (found.segment[:, :14] == 0).all() and (found.segment[:, 18:] == 1).all()


def test_network_exports(network: PanopticNetwork) -> None:
    network.eval()
    images = torch.randint(0, 255, (1, 3, 32, 64), dtype=torch.uint8)
    program = torch.export.export(network, (images,))
    with torch.no_grad():
        for ours, theirs in zip(network(images), program.module()(images), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_stuff_reaches_what_is_cut_off_from_its_point() -> None:
    """A row of pixels: ground's point at the left, a wall, an object, and ground again that no point is on."""
    costs = torch.full((1, 4, 1, 30), 0.05)
    costs[..., 7:9] = 4.0
    points = [torch.tensor([[0, 0, 1, 0], [0, 14, 0, 1]])]
    of_class = torch.zeros(1, 2, 1, 30)
    of_class[:, 0, :, 20:] = 3.0  # no object is likely there
    (by_paths,) = pseudo_masks(costs, points, of_class)
    assert (by_paths.map[0, 9:] == 1).all()
    (found,) = pseudo_masks(costs, points, of_class, things=1, stuff_reach=2.0)
    assert (found.map[0, :7] == 0).all() and (found.map[0, 9:20] == 1).all() and (found.map[0, 20:] == 0).all()
