"""What every transform here builds on: mmcv's base class, mmdet3d's registry and the source of randomness."""

import numpy as np
import torch

from perception.mmcv_ops import install

install()  # mmdet3d does not import without mmcv's operators

from mmcv.transforms import BaseTransform  # noqa: E402
from mmdet3d.registry import TRANSFORMS  # noqa: E402

__all__ = ["TRANSFORMS", "BaseTransform", "random_generator"]


def random_generator() -> np.random.Generator:
    """A numpy generator seeded from torch's, which data workers seed each with its own number in every epoch."""
    return np.random.default_rng(int(torch.randint(2**63 - 1, ())))
