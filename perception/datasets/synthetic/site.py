"""Where things stand still: a map of what is taken, and the fillers of streets, yards, road works and pavements."""

from __future__ import annotations

import cv2
import numpy as np

from perception.datasets.synthetic import scenery
from perception.datasets.synthetic.actors import Thing, make_actor
from perception.datasets.synthetic.road import GroundPainter, Road
from perception.datasets.synthetic.shapes import Label, Shape

_CELL_M = 0.25


class Site:
    """The static part of a scene, growing as things are put into it; nothing overlaps."""

    def __init__(self, low: np.ndarray, high: np.ndarray, rng: np.random.Generator) -> None:
        self.low, self.high, self.rng = low, high, rng
        columns, rows = np.ceil((high - low) / _CELL_M).astype(int)
        self.taken = np.zeros((rows + 2, columns + 2), dtype=np.uint8)
        self.things: list[Thing] = []

    def reserve(self, outline: np.ndarray) -> None:
        """Mark an outline [n,2] (m, global) as taken."""
        cells = np.round((outline - self.low) / _CELL_M).astype(np.int32)
        cv2.fillPoly(self.taken, [cells], (1,))

    def is_free(self, outline: np.ndarray) -> bool:
        """Whether an outline [n,2] lies inside the site on nothing."""
        if (outline < self.low).any() or (outline > self.high).any():
            return False
        cells = np.round((outline - self.low) / _CELL_M).astype(np.int32)
        x, y, w, h = cv2.boundingRect(cells)
        mask = np.zeros((h, w), dtype=np.uint8)
        cv2.fillPoly(mask, [cells - [x, y]], (1,))
        return not (mask & self.taken[y : y + h, x : x + w]).any()

    def put(self, thing: Thing, pose: np.ndarray, length: float, width: float, margin: float = 0.25) -> bool:
        """Stand a thing at a pose [4] if its footprint and margin (m) are free; whether it was."""
        outline = footprint(pose, length + 2 * margin, width + 2 * margin)
        if not self.is_free(outline):
            return False
        self.reserve(outline)
        thing.track = np.asarray(pose, dtype=np.float64)[None]
        self.things.append(thing)
        return True

    def put_actor(self, class_name: str, pose: np.ndarray, *, margin: float = 0.25, worker: bool = False) -> bool:
        """Stand a parked or standing actor of a class at a pose [4], if there is room."""
        thing = make_actor(class_name, self.rng, worker=worker)
        thing.parked = True
        return self.put(thing, pose, thing.size[0], thing.size[1], margin)

    def put_scenery(self, shape: Shape, pose: np.ndarray, length: float, width: float) -> bool:
        """Stand scenery at a pose [4], if there is room."""
        return self.put(Thing(shape, np.zeros((1, 4))), pose, length, width)

    # ---- fillers -----------------------------------------------------------------------------------------------------

    def parked_row(self, road: Road, side: int, s0: float, s1: float, fill: float) -> None:
        """Vehicles along the kerb between two stations; `fill` is the share of spaces taken."""
        rng = self.rng
        names = ["car", "truck", "motorcycle", "bus", "trailer", "decoy"]
        s = s0 + rng.uniform(0, 5)
        while s < s1:
            name = rng.choice(names, p=[0.62, 0.13, 0.06, 0.06, 0.06, 0.07])
            if rng.random() > fill:
                s += rng.uniform(4, 9)
                continue
            if name == "decoy":
                pose = road.pose(s + 2.5, side * (road.lane_edge + 1.9), -side)
                self.put_scenery(scenery.dumpster(rng), pose, 4.2, 1.6)
                s += 6
                continue
            thing = make_actor(str(name), rng)
            thing.parked = True
            length, width, _ = thing.size
            turned = name == "motorcycle"
            extent = width if turned else length
            # Right-hand traffic: the right side (d < 0) faces along the road. The inner edge keeps clear of riders.
            pose = road.pose(s + extent / 2, side * (road.lane_edge + 1.25 + (length if turned else width) / 2), -side)
            pose[3] += (side * np.pi / 2 if turned else 0) + rng.normal(0, 0.02)
            self.put(thing, pose, length, width, 0.15)
            s += extent + rng.uniform(0.5, 1.6)

    def yard(self, road: Road, side: int, station: float, painter: GroundPainter) -> None:
        """An open yard behind the pavement with large vehicles, and containers that resemble them."""
        rng = self.rng
        inner = road.pavement_edge + 1.0
        painter.fill(
            road.strip(station - 16, station + 16, side * inner, side * (inner + 19)), (125, 128, 130), Label.SIDEWALK
        )
        names = ["bus", "trailer", "truck", "construction_vehicle", "container", "car"]
        weights = [0.24, 0.26, 0.2, 0.1, 0.14, 0.06]
        turn = rng.choice([np.pi / 2, -np.pi / 2]) + rng.uniform(-0.35, 0.35)
        for s in np.arange(station - 14, station + 14, 4.4):
            name = str(rng.choice(names, p=weights))
            pose = road.pose(s + rng.uniform(-0.3, 0.3), side * (inner + 9 + rng.uniform(-1.5, 1.5)))
            pose[3] += turn + (np.pi if rng.random() < 0.3 else 0)
            if name == "container":
                shape = scenery.container(rng)
                length = 2 * float(max(p.corners[:, 0].max() for p in shape.polygons))
                self.put_scenery(shape, pose, length, 2.5)
            else:
                self.put_actor(name, pose, margin=0.2)

    def road_works(self, road: Road, side: int, station: float, length: float, painter: GroundPainter) -> None:
        """A stretch of parking strip and pavement closed off by cones and barriers, machines and workers inside."""
        rng = self.rng
        inner, outer = road.lane_edge + 1.5, road.pavement_edge + 2.0
        painter.fill(
            road.strip(station, station + length, side * (inner + 0.6), side * outer), (70, 98, 122), Label.TERRAIN
        )
        s = station - 4.5
        for k in range(2):  # a taper of cones
            pose = road.pose(s + 2.5 * k, side * (road.kerb - 0.6 - k * (road.kerb - inner - 0.6) / 2))
            self.put_actor("traffic_cone", pose, margin=0.05)
        s = station + 2.2
        concrete = rng.random() < 0.35
        while s < station + length - 1.0:  # the long side: barriers, broken by pieces of wall
            pose = road.pose(s, side * inner)
            pose[3] += np.pi / 2 + rng.normal(0, 0.06)
            if concrete and rng.random() < 0.5:
                self.put_scenery(scenery.low_wall(rng), pose, 0.5, 2.6)
            else:
                self.put_actor("barrier", pose, margin=0.02)
            s += rng.uniform(3.05, 3.7)
        for s in np.arange(station + length + 1.5, station + length + 5.0, 2.0):
            self.put_actor(
                "traffic_cone", road.pose(s, side * (inner + 0.3 + 0.25 * (s - station - length))), margin=0.05
            )
        for s in np.arange(station + 4.0, station + length - 3.0, 8.5):
            name = "construction_vehicle" if rng.random() < 0.72 else "truck"
            pose = road.pose(s + rng.uniform(0, 1.5), side * (0.5 * (inner + outer) + rng.uniform(-0.3, 0.8)))
            pose[3] += rng.uniform(-0.5, 0.5) + (np.pi if rng.random() < 0.5 else 0)
            self.put_actor(name, pose, margin=0.2)
        for _ in range(6):
            s, d = rng.uniform(station, station + length), rng.uniform(inner + 0.8, outer)
            pose = road.pose(s, side * d)
            pose[3] = rng.uniform(-np.pi, np.pi)
            kind = rng.random()
            if kind < 0.3:
                self.put_actor("pedestrian", pose, worker=True)
            elif kind < 0.6:
                self.put_actor("traffic_cone", pose)
            elif kind < 0.8:
                self.put_scenery(scenery.rubble(rng), pose, 2.5, 2.5)
            else:
                self.put_scenery(scenery.bollard(rng), pose, 0.5, 0.5)

    def street_furniture(self, road: Road, side: int, s0: float, s1: float, painter: GroundPainter) -> None:
        """Lamps, signs, posts, walls, parked two-wheelers and standing people on a pavement."""
        rng = self.rng
        for s in np.arange(s0, s1, 28.0):
            pose = road.pose(s, side * (road.kerb + 0.6))
            lamp = pose.copy()
            lamp[3] += -side * np.pi / 2
            if self.put_scenery(scenery.lamp_post(rng), lamp, 0.5, 0.5):
                painter.lamps.append(road.pose(s, side * (road.kerb - 1.2))[:2])
        makers = [scenery.sign, scenery.bollard, scenery.kiosk, scenery.low_wall]
        for _ in range(int((s1 - s0) / 4.6)):
            s = rng.uniform(s0, s1)
            kind = rng.choice(8, p=[0.14, 0.2, 0.16, 0.16, 0.07, 0.06, 0.16, 0.05])
            pose = road.pose(s, side * (road.kerb + rng.uniform(0.5, 1.0)))
            pose[3] += rng.choice([0, np.pi / 2]) + rng.normal(0, 0.15)
            if kind < 4:
                self.put_scenery(makers[kind](rng), pose, 0.6, 2.6 if kind == 3 else 0.7)
            elif kind == 4:
                self.two_wheelers("bicycle", road, s, side)
            elif kind == 5:
                self.two_wheelers("motorcycle", road, s, side)
            elif kind == 6:
                for _ in range(rng.integers(1, 4)):
                    pose = road.pose(s + rng.normal(0, 1.2), side * (road.kerb + rng.uniform(0.6, 3.6)))
                    pose[3] = rng.uniform(-np.pi, np.pi)
                    self.put_actor("pedestrian", pose)
            else:
                self.put_actor("traffic_cone", pose)

    def two_wheelers(self, class_name: str, road: Road, s: float, side: int) -> None:
        """A few parked side by side."""
        heading = self.rng.choice([-1, 1]) * np.pi / 2 + self.rng.normal(0, 0.2)
        for k in range(self.rng.integers(1, 3)):
            pose = road.pose(s + 0.95 * k, side * (road.kerb + 1.3))
            pose[3] += heading + self.rng.normal(0, 0.05)
            self.put_actor(class_name, pose, margin=0.03)

    def frontage(self, road: Road, side: int, s0: float, s1: float) -> None:
        """Buildings, trees and hedges behind the pavement."""
        rng = self.rng
        s = s0
        while s < s1:
            if rng.random() < 0.72:
                length, depth, height = rng.uniform(14, 34), rng.uniform(10, 18), rng.uniform(7, 38)
                setback = road.pavement_edge + rng.uniform(0.8, 7.0)
                pose = road.pose(s + length / 2, side * (setback + depth / 2))
                self.put_scenery(scenery.building(rng, length, depth, height), pose, length, depth)
                s += length + rng.uniform(0.5, 7)
            else:
                s += rng.uniform(6, 18)
        for s in np.arange(s0, s1, 7.5):
            pose = road.pose(s + rng.uniform(-2, 2), side * (road.pavement_edge + rng.uniform(0.6, 5.0)))
            if rng.random() < 0.6:
                self.put_scenery(scenery.tree(rng, rng.uniform(4.5, 10)), pose, 1.2, 1.2)
            elif rng.random() < 0.5:
                length = rng.uniform(3, 8)
                self.put_scenery(scenery.bush(rng, length, 1.0, rng.uniform(0.8, 1.5)), pose, length, 1.0)


def footprint(pose: np.ndarray, length: float, width: float) -> np.ndarray:
    """Corners [4,2] (m, global) of a rectangle about a pose [4]."""
    x, y, _, yaw = pose
    cos, sin = np.cos(yaw), np.sin(yaw)
    corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * [length / 2, width / 2]
    return np.asarray(corners @ np.array([[cos, sin], [-sin, cos]]) + [x, y])
