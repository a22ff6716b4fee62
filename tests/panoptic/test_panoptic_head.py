"""The panoptic head's ellipses and the evidence of its classes, each against a slow twin."""

import math

import pytest
import torch

from perception.camera.panoptic_head import LEAST_EVIDENCE, MAX_DISTANCE, MAX_STRETCH, PanopticHead

GRID = (2, 4)


@pytest.fixture
def head() -> PanopticHead:
    torch.manual_seed(0)
    return PanopticHead(16, things=3, stuff=2, channels=16, hidden=16, query_grid=GRID).eval()


def test_a_pixel_is_as_far_as_half_axes_say(head: PanopticHead) -> None:
    torch.nn.init.normal_(head.ellipse.weight, std=0.5)
    torch.nn.init.normal_(head.ellipse.bias)
    queries = torch.randn(1, GRID[0] * GRID[1], 16)
    found = head._distance(queries, (6, 10))[0]
    for q, (dx, dy, log_a, log_b) in enumerate(head.ellipse(queries)[0].tolist()):
        row, column = divmod(q, GRID[1])
        # In cells of the query grid, whose own cell's middle is at half a cell.
        middle_x, middle_y = column + 0.5 + dx, row + 0.5 + dy
        a, b = (math.exp(min(max(v, -MAX_STRETCH), MAX_STRETCH)) for v in (log_a, log_b))
        for y in range(6):
            for x in range(10):
                place_x, place_y = (x + 0.5) / 10 * GRID[1], (y + 0.5) / 6 * GRID[0]
                wanted = ((place_x - middle_x) / a) ** 2 + ((place_y - middle_y) / b) ** 2
                assert found[q, y, x].item() == pytest.approx(min(wanted, MAX_DISTANCE), rel=1e-4, abs=1e-4)


def test_untrained_queries_begin_at_their_cells(head: PanopticHead) -> None:
    far = head._distance(torch.randn(1, 8, 16), (20, 40))[0]
    nearest = far.flatten(1).argmin(dim=1)
    rows, columns = nearest // 40, nearest % 40
    assert torch.equal(rows // 10 * GRID[1] + columns // 10, torch.arange(8))


def test_classes_follow_what_the_mask_shows(head: PanopticHead) -> None:
    torch.nn.init.zeros_(head.classes.weight)
    torch.nn.init.zeros_(head.classes.bias)
    # The left half shows class 2, the right half stuff.
    semantic = torch.full((1, 5, 8, 16), -20.0)
    semantic[:, 2, :, :8] = 20.0
    semantic[:, 4, :, 8:] = 20.0
    queries = torch.cat((torch.randn(1, 8, 16), torch.zeros(1, 2, 16)), dim=1)
    features = torch.zeros(1, 16, 8, 16)  # masks are their ellipses alone
    _, classes = head._predict(queries, features, head._shown(semantic))
    left = [q for q in range(8) if q % GRID[1] < 2]
    right = [q for q in range(8) if q % GRID[1] >= 2]
    assert (classes[0, left].argmax(dim=1) == 2).all() and (classes[0, right].argmax(dim=1) == 3).all()
    assert classes.min() >= math.log(LEAST_EVIDENCE) - 1e-4
