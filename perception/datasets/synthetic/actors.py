"""The ten detection classes: their sizes, their nuScenes categories, and things placed in the world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.datasets.synthetic import machines, street_users, trucks, vehicles
from perception.datasets.synthetic.shapes import Label, Shape

# Detection class: nuScenes category, and mean length, width, height in m over nuScenes' training boxes, with the
# relative spread of each.
CLASSES: dict[str, tuple[str, tuple[float, float, float], tuple[float, float, float]]] = {
    "car": ("vehicle.car", (4.63, 1.96, 1.74), (0.06, 0.04, 0.09)),
    "truck": ("vehicle.truck", (6.9, 2.5, 2.85), (0.2, 0.06, 0.14)),
    "construction_vehicle": ("vehicle.construction", (6.4, 2.75, 3.2), (0.12, 0.06, 0.08)),
    "bus": ("vehicle.bus.rigid", (10.9, 2.92, 3.47), (0.13, 0.03, 0.05)),
    "trailer": ("vehicle.trailer", (11.6, 2.9, 3.85), (0.14, 0.03, 0.05)),
    "barrier": ("movable_object.barrier", (0.5, 2.5, 1.0), (0.08, 0.1, 0.06)),
    "motorcycle": ("vehicle.motorcycle", (2.11, 0.77, 1.45), (0.06, 0.08, 0.05)),
    "bicycle": ("vehicle.bicycle", (1.72, 0.61, 1.3), (0.05, 0.08, 0.06)),
    "pedestrian": ("human.pedestrian.adult", (0.73, 0.67, 1.77), (0.1, 0.08, 0.05)),
    "traffic_cone": ("movable_object.trafficcone", (0.41, 0.41, 1.05), (0.08, 0.08, 0.15)),
}
CLASS_NAMES = tuple(CLASSES)


@dataclass
class Thing:
    """An object of the world: an actor when it has a class, scenery otherwise."""

    shape: Shape
    track: np.ndarray  # [T,4] x y z yaw on the scene's time grid, or [1,4] when it never moves
    size: tuple[float, float, float] = (0.0, 0.0, 0.0)  # length, width, height, m
    class_name: str = ""
    parked: bool = False
    rider: bool = False


def sample_size(class_name: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """Length, width, height (m) of one object of a class."""
    _, mean, spread = CLASSES[class_name]
    factor = 1 + np.array(spread) * np.clip(rng.normal(size=3), -2, 2)
    length, width, height = np.round(np.array(mean) * factor, 3).tolist()
    return length, width, height


def make_actor(
    class_name: str,
    rng: np.random.Generator,
    *,
    rider: bool = False,
    stride: float = 0.0,
    worker: bool = False,
    tractor: bool = False,
) -> Thing:
    """An actor at the origin, to be given its track."""
    length, width, height = sample_size(class_name, rng)
    if class_name == "car":
        shape = vehicles.car(rng, length, width, height)
    elif class_name == "truck":
        if tractor:
            length, width, height = 6.2, 2.5, float(rng.uniform(3.0, 3.7))
        elif rng.random() < 0.25:
            length, width, height = (
                float(rng.uniform(5.2, 5.9)),
                float(rng.uniform(1.95, 2.1)),
                float(rng.uniform(1.8, 2.0)),
            )
        shape = trucks.truck(rng, length, width, height, tractor=tractor)
    elif class_name == "bus":
        shape = vehicles.bus(rng, length, width, height)
    elif class_name == "trailer":
        shape = trucks.trailer(rng, length, width, height)
    elif class_name == "construction_vehicle":
        shape = machines.construction_vehicle(rng, length, width, height)
    elif class_name == "pedestrian":
        length *= 1.0 if stride else 0.75
        shape = street_users.pedestrian(rng, length, width, height, stride=stride, worker=worker)
    elif class_name in ("bicycle", "motorcycle"):
        # The box holds the rider; a parked machine is lower than the mean.
        low, high = (1.6, 1.8) if rider else (1.15, 1.3) if class_name == "motorcycle" else (1.0, 1.1)
        height = float(rng.uniform(low, high))
        maker = street_users.bicycle if class_name == "bicycle" else street_users.motorcycle
        shape = maker(rng, length, width, height, rider=rider)
    elif class_name == "traffic_cone":
        shape = street_users.traffic_cone(rng, length, width, height)
    else:
        shape = street_users.barrier(rng, length, width, height)
    label = Label.THING + CLASS_NAMES.index(class_name)
    for polygon in shape.polygons:
        polygon.label = label
    still = np.zeros((1, 4))
    return Thing(shape, still, (length, width, height), class_name, rider=rider)
