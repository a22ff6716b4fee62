"""The choice of branches against the normal distribution by hand, and how it moves with the focal length."""

from statistics import NormalDist

import numpy as np
import pytest
import torch

from perception.camera.scale_choice import OBJECT_SIZE_M, OBJECT_SPREAD, ScaleChoice

RANGES = ((0.0, 45.0), (15.0, 80.0), (45.0, 1e8))
DEPTHS = torch.tensor([2.0, 5.0, 12.0, 30.0, 58.0])


def test_it_starts_from_the_share_of_objects_in_each_range() -> None:
    got = ScaleChoice(RANGES, DEPTHS)(torch.tensor([[300.0, 560.0]]))
    assert got.shape == (3, 1, 2, 5)
    for camera, focal in enumerate((300.0, 560.0)):
        for i, depth in enumerate(DEPTHS.tolist()):
            sizes = NormalDist(np.log(focal * OBJECT_SIZE_M / depth), OBJECT_SPREAD)
            shares = [sizes.cdf(np.log(high)) - (sizes.cdf(np.log(low)) if low else 0) for low, high in RANGES]
            expected = np.maximum(shares, 1e-6) / np.maximum(shares, 1e-6).sum()
            np.testing.assert_allclose(got[:, 0, camera, i].detach().numpy(), expected, atol=1e-4)


def test_near_objects_belong_to_the_branch_for_large_ones() -> None:
    weights = ScaleChoice(RANGES, DEPTHS)(torch.tensor([[400.0]]))[:, 0, 0]
    assert weights[:, 0].argmax() == 2 and weights[:, -1].argmax() == 0


def test_what_is_learned_moves_with_the_focal_length() -> None:
    choice = ScaleChoice(RANGES, DEPTHS)
    twice = ScaleChoice(RANGES, 2 * DEPTHS)
    with torch.no_grad():
        choice.learned.normal_()
    twice.load_state_dict(choice.state_dict())
    at = choice(torch.tensor([[280.0]])), twice(torch.tensor([[560.0]])), choice(torch.tensor([[560.0]]))
    torch.testing.assert_close(at[0], at[1], rtol=1e-4, atol=1e-5)
    assert (at[0] - at[2]).abs().max() > 0.1


def test_the_learned_part_is_interpolated_over_octaves() -> None:
    choice = ScaleChoice(RANGES, DEPTHS)
    with torch.no_grad():
        choice.learned.normal_()
    octave = torch.tensor([-1.0, 1.0, 1.2, 5.5, 5.75, 9.99, 10.0, 14.0])
    got = choice._learned_at(octave).detach().numpy()
    for branch in range(3):
        expected = np.interp(octave, np.linspace(1, 10, 19), choice.learned[branch].detach().numpy())
        np.testing.assert_allclose(got[branch], expected, atol=1e-5)


def test_one_branch_has_all_the_weight_and_an_empty_range_is_refused() -> None:
    assert (ScaleChoice(((0.0, 1e8),), DEPTHS)(torch.tensor([[400.0]])) == 1).all()
    with pytest.raises(ValueError, match="valid range"):
        ScaleChoice(((45.0, 45.0),), DEPTHS)
