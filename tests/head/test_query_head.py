"""The query head: where its queries start, what it learns, what it decodes."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from perception.engine.matching import hungarian
from perception.geometry.grid import BEVGrid
from perception.head.box_code import encode_boxes
from perception.head.query_head import Attention, QueryHead, QueryOutput
from perception.head.query_loss import QueryLoss

GRID = BEVGrid((-8.0, 8.0), (-6.0, 6.0), (-5.0, 3.0), (0.5, 0.5, 8.0))
ROWS, COLUMNS = 24, 32


def head(**options: object) -> QueryHead:
    torch.manual_seed(0)
    return QueryHead(8, GRID, 3, 16, 2, 32, 20, **options).eval()


def some_boxes(count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    low = torch.tensor([-7.0, -5.0, -1.0, 0.5, 0.5, 0.5, -3.0, -5.0, -5.0])
    high = torch.tensor([7.0, 5.0, 1.0, 5.0, 2.0, 2.5, 3.0, 5.0, 5.0])
    boxes = low + torch.rand(count, 9, generator=generator) * (high - low)
    labels = torch.randint(3, (count,), generator=generator)
    return boxes, labels, torch.randint(2, (count,), generator=generator)


def test_queries_are_peaks_and_every_cell_of_a_crowded_class() -> None:
    heatmap = torch.full((1, 3, ROWS, COLUMNS), -9.0)
    heatmap[0, 0, 5, 5:7] = torch.tensor([3.0, 2.0])
    heatmap[0, 2, 9, 5:7] = torch.tensor([1.0, 0.5])
    heatmap[0, 1, 23, 31] = 0.2
    label, cell, peak = head(crowded=(2,))._peaks(heatmap)
    places = list(zip(label[0, :4].tolist(), (cell[0, :4] // 32).tolist(), (cell[0, :4] % 32).tolist(), strict=True))
    assert places == [(0, 5, 5), (2, 9, 5), (2, 9, 6), (1, 23, 31)]
    assert torch.allclose(peak[0, :4], torch.tensor([3.0, 1.0, 0.5, 0.2]).sigmoid())


def test_attention_equals_torch_s_own() -> None:
    torch.manual_seed(0)
    ours, theirs = Attention(16, 4), torch.nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([m.weight for m in (ours.q, ours.k, ours.v)]))
        theirs.in_proj_bias.copy_(torch.cat([m.bias for m in (ours.q, ours.k, ours.v)]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    q, k, v = torch.randn(2, 5, 16), torch.randn(2, 9, 16), torch.randn(2, 9, 16)
    assert torch.allclose(ours(q, k, v), theirs(q, k, v)[0], atol=1e-6)


def test_hungarian_finds_the_cheapest_and_survives_nan() -> None:
    rows, columns = hungarian(torch.tensor([[4.0, 1.0], [2.0, 0.0], [float("nan"), 9.0]]))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert hungarian(torch.zeros(5, 0))[0].shape == (0,)


def perfect(boxes: Tensor, labels: Tensor, sample: Tensor) -> QueryOutput:
    """An output whose last queries hold the boxes, in reverse order."""
    count = len(boxes)
    cell = torch.zeros(2, 20, dtype=torch.long)
    code, logits = torch.zeros(2, 20, 10), torch.full((2, 20, 3), -12.0)
    place = torch.stack(((boxes[:, 0] + 8) / 0.5, (boxes[:, 1] + 6) / 0.5), dim=1).floor().long()
    query = 19 - torch.arange(count)
    cell[sample, query] = place[:, 1] * COLUMNS + place[:, 0]
    code[sample, query] = encode_boxes(boxes, place, GRID)
    logits[sample, query, labels] = 12.0
    label = torch.zeros(2, 20, dtype=torch.long)
    label[sample, query] = labels
    peak = (logits.amax(2) > 0).float()
    return QueryOutput(torch.zeros(2, 3, ROWS, COLUMNS), label, cell, peak, logits, code)


def test_true_boxes_cost_nothing_and_decode_to_themselves() -> None:
    boxes, labels, sample = some_boxes(8)
    boxes[0, 7:] = float("nan")  # unknown velocity
    output = perfect(boxes.nan_to_num(), labels, sample)
    losses = QueryLoss(hungarian, GRID, 3)(head(), output, boxes, labels, sample)
    assert losses["loss_class"] < 1e-4 and losses["loss_box"] < 1e-4
    found = head().decode(output)
    for b in range(2):
        own = sample == b
        assert int((found.scores[b] > 0.5).sum()) == int(own.sum())
        for box, label in zip(boxes.nan_to_num()[own], labels[own], strict=True):
            error = (found.boxes[b] - box).abs().amax(1) + (found.labels[b] != label) * 100
            assert error.min() < 1e-3


def test_classes_that_are_wrong_cost_and_boxes_outside_the_map_do_not_count() -> None:
    boxes, labels, sample = some_boxes(8)
    output = perfect(boxes, labels, sample)
    loss = QueryLoss(hungarian, GRID, 3)
    assert loss(head(), output, boxes, (labels + 1) % 3, sample)["loss_class"] > 1.0
    far = boxes.clone()
    far[:, 0] = 50.0
    both = [torch.cat(pair) for pair in ((boxes, far), (labels, labels), (sample, sample))]
    for name, value in loss(head(), output, *both).items():
        assert torch.allclose(value, loss(head(), output, boxes, labels, sample)[name]), name


@pytest.mark.parametrize("count", [0, 1, 30])
def test_learns_whatever_the_number_of_objects(count: int) -> None:
    boxes, labels, sample = some_boxes(count)
    model = head().train()
    output = model(torch.randn(2, 8, ROWS, COLUMNS))
    losses = QueryLoss(hungarian, GRID, 3)(model, output, boxes, labels, sample)
    sum(v for k, v in losses.items() if k.startswith("loss")).backward()
    assert all(torch.isfinite(v) for v in losses.values())
    grads = {name: p.grad for name, p in model.named_parameters()}
    assert all(torch.isfinite(g).all() for g in grads.values() if g is not None)
    if count > 1:
        assert not [name for name, g in grads.items() if g is None or not g.any()]


def test_learns_a_scene_by_heart() -> None:
    """Sixty steps of training on one map lower every loss, and its boxes come out of it."""
    boxes, labels, sample = some_boxes(6)
    torch.manual_seed(1)
    model, bev = head().train(), torch.randn(2, 8, ROWS, COLUMNS)
    loss = QueryLoss(hungarian, GRID, 3)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    first: dict[str, float] = {}
    for _ in range(60):
        losses = loss(model, model(bev), boxes, labels, sample)
        total = losses["loss_heatmap"] + losses["loss_class"] + losses["loss_box"]
        first = first or {k: v.item() for k, v in losses.items()}
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert all(float(losses[k]) < 0.6 * first[k] for k in ("loss_heatmap", "loss_class", "loss_box"))


def test_exports() -> None:
    model = head()
    bev = torch.randn(1, 8, ROWS, COLUMNS)
    exported = torch.export.export(model, (bev,)).module()
    for a, b in zip(model(bev), exported(bev), strict=True):
        assert torch.allclose(a.float(), b.float(), atol=1e-5)
    assert F.mse_loss(model.decode(model(bev)).boxes, model.decode(exported(bev)).boxes) < 1e-8
