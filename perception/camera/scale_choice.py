"""Which trident branch to believe at which depth.

An object of s metres at depth d spans f s / d pixels for a focal length of f pixels. A branch that is right for a range
of pixels is therefore right for a range of d / f: as far as that goes, the choice follows from the rig and is shared by
every rig. What the relation does not know is learned on top of it, over the size in pixels, so that it moves with the
focal length too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Log-normal sizes (square root of visible width times height) of road users: half are between 1.3 m and 3 m, with
# pedestrians below and lorries above.
OBJECT_SIZE_M, OBJECT_SPREAD = 2.0, 0.6
# The learned part has a value at every half octave between these sizes in pixels, linear in between.
_FIRST_OCTAVE, _LAST_OCTAVE, _KNOTS_PER_OCTAVE = 1, 10, 2


class ScaleChoice(nn.Module):
    """Weights of the branches per camera and depth bin.

    Before any training a branch's weight is the share of objects at that depth whose size in pixels lies in its valid
    range, against the other branches' shares.

    Args:
        valid_ranges_px: (least, largest) sqrt(w * h) of the objects that each branch is for, px of the network's image;
            1e8 for no limit. They may overlap (TridentNet, section 3.3).
        depths_m: [D], centres of the depth bins.

    Raises ValueError for an empty range.
    """

    log_edges: Tensor
    log_depths: Tensor

    def __init__(self, valid_ranges_px: Sequence[tuple[float, float]], depths_m: Tensor) -> None:
        super().__init__()
        for low, high in valid_ranges_px:
            if not 0 <= low < high:
                raise ValueError(f"a valid range needs 0 <= least < largest, got {tuple(valid_ranges_px)}")
        self.branches = len(valid_ranges_px)
        edges = torch.tensor([tuple(map(float, pair)) for pair in valid_ranges_px])
        self.register_buffer("log_edges", edges.log(), persistent=False)
        self.register_buffer("log_depths", depths_m.log(), persistent=False)
        knots = (_LAST_OCTAVE - _FIRST_OCTAVE) * _KNOTS_PER_OCTAVE + 1
        self.learned = nn.Parameter(torch.zeros(self.branches, knots))

    def forward(self, focal_px: Tensor) -> Tensor:
        """focal_px [B,N], px of the network's image -> weights [R,B,N,D] float32, 1 in all over the branches."""
        # Of a middling object, [B,N,D].
        log_size = (focal_px.float() * OBJECT_SIZE_M).log()[..., None] - self.log_depths
        below = torch.erf((self.log_edges[:, :, None, None, None] - log_size) / (OBJECT_SPREAD * math.sqrt(2)))
        share = ((below[:, 1] - below[:, 0]) / 2).clamp(min=1e-6)
        return (share.log() + self._learned_at(log_size / math.log(2))).softmax(dim=0)

    def _learned_at(self, octave: Tensor) -> Tensor:
        """The learned part at sizes of 2^octave px: [...] -> [R,...]."""
        last = self.learned.shape[1] - 1
        place = ((octave - _FIRST_OCTAVE) * _KNOTS_PER_OCTAVE).clamp(0, last)
        left = place.floor().clamp(max=last - 1)
        part, left = place - left, left.long()
        return self.learned[:, left] * (1 - part) + self.learned[:, left + 1] * part
