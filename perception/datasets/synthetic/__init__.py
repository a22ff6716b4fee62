"""A synthetic world that writes nuScenes-format data sets: seeded, with no download."""

from perception.datasets.synthetic.generate import generate_dataroot
from perception.datasets.synthetic.tables import VERSION

__all__ = ["VERSION", "generate_dataroot"]
