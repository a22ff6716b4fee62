"""Batch norm over few rows."""

import torch
from torch import nn

from perception.lidar.row_norm import row_norm


def test_fewer_than_two_rows_take_the_running_statistics() -> None:
    norm = nn.BatchNorm1d(3)
    row_norm(norm, torch.randn(50, 3) * 2 + 1)
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    row = torch.randn(1, 3)
    torch.testing.assert_close(row_norm(norm, row), (row - mean) / (var + norm.eps).sqrt())
    assert row_norm(norm, row[:0]).shape == (0, 3)
    assert torch.equal(norm.running_mean, mean)


def test_synchronised_statistics_are_always_asked_for() -> None:
    """A process with one row that did not take part would leave the others waiting."""
    norm, asked = nn.SyncBatchNorm(3), []

    def note(module: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        asked.append(len(args[0]))
        return (torch.zeros(2, 3),)  # alone, without other processes, one row has no statistics

    norm.register_forward_pre_hook(note)
    for rows in (0, 1, 5):
        row_norm(norm, torch.randn(rows, 3))
    assert asked == [0, 1, 5]
