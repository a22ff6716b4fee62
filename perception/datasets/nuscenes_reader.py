"""nuScenes' tables as info files need them: streamed, checked record by record, and little of them kept.

nuscenes-devkit keeps all of 2.6 million sample_data and poses, 1.2 million annotations and every field of them, about
seven gigabytes. An info file needs the key frames' cameras, the LiDAR's sweeps, and a dozen fields; of the three long
tables they are kept packed.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES

from perception.datasets.json_stream import stream_array
from perception.datasets.nuscenes_schema import OPTIONAL, REFERENCES, SCHEMA
from perception.datasets.nuscenes_tables import OFFICIAL_SPLITS, check_dataroot
from perception.datasets.packed_records import PackedRecords

_KEY_FRAME_SLACK_US = 1_000_000
# A velocity is told from neighbours at most so far apart, as nuscenes-devkit has it.
_MAX_VELOCITY_SPAN_S = 1.5

# nuScenes' categories, and those of nuScenes-lidarseg by their families.
_CATEGORIES = (
    "animal", "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility", "human.pedestrian.police_officer", "human.pedestrian.stroller",
    "human.pedestrian.wheelchair", "movable_object.barrier", "movable_object.debris",
    "movable_object.pushable_pullable", "movable_object.trafficcone", "static_object.bicycle_rack", "vehicle.bicycle",
    "vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.car", "vehicle.construction", "vehicle.emergency.ambulance",
    "vehicle.emergency.police", "vehicle.motorcycle", "vehicle.trailer", "vehicle.truck", "vehicle.ego", "noise",
    "flat.", "static.",
)  # fmt: skip

Record = dict[str, Any]


class NuScenesReader:
    """Tables of a dataroot, with the lookups of nuscenes-devkit that info files are made from.

    Attributes:
        dataroot, version: as given.
        sample, scene, category: lists of records.
        sample_data: the records of LIDAR_TOP and of the cameras' key frames, with `channel` and `sensor_modality`.

    Each sample has `data` {channel: token of its key frame} and `anns` [tokens].

    Raises FileNotFoundError as `check_dataroot` does, or naming a map file that is missing; ValueError naming the
    table, the record and the field that is damaged or points to nothing.
    """

    def __init__(self, root: str | Path, version: str) -> None:
        self.dataroot, self.version = str(root), version
        self._tables = check_dataroot(root, version)
        self._records: dict[str, dict[str, Record] | PackedRecords] = {}
        for name in (
            "attribute", "category", "visibility", "log", "map", "sensor", "calibrated_sensor", "scene", "sample",
            "instance",
        ):  # fmt: skip
            self._records[name] = {record["token"]: record for record in self._checked(name)}
        self._pack("sample_annotation", self._checked("sample_annotation"))
        self._pack("sample_data", self._kept_sample_data(), more_fields=("channel", "sensor_modality"))
        self._pack("ego_pose", self._kept_poses())
        for table in dict.fromkeys(table for table, _ in REFERENCES):
            self._check_references(table)
        self._check_maps()
        self._check_categories()
        self._link()

    @property
    def sample(self) -> list[Record]:
        return list(self._records["sample"].values())

    @property
    def scene(self) -> list[Record]:
        return list(self._records["scene"].values())

    @property
    def category(self) -> list[Record]:
        return list(self._records["category"].values())

    @property
    def sample_data(self) -> Iterable[Record]:
        return self._records["sample_data"].values()

    def get(self, table: str, token: str) -> Record:
        """A record. Raises KeyError where there is none."""
        record = self._records[table][token]
        if table == "sample_annotation":
            instance = self._records["instance"][record["instance_token"]]
            record["category_name"] = self._records["category"][instance["category_token"]]["name"]
        return record

    def box_velocity(self, token: str) -> np.ndarray:
        """Velocity [3] of an annotated box in the global frame, m/s; NaN where its neighbours do not tell it."""
        current = self.get("sample_annotation", token)
        first = self.get("sample_annotation", current["prev"]) if current["prev"] else current
        last = self.get("sample_annotation", current["next"]) if current["next"] else current
        span_s = self._time_s(last) - self._time_s(first)
        most_s = _MAX_VELOCITY_SPAN_S * (2 if current["prev"] and current["next"] else 1)
        if first is last or not 0 < span_s <= most_s:
            return np.full(3, np.nan)
        return (np.array(last["translation"]) - np.array(first["translation"])) / span_s

    def _time_s(self, annotation: Record) -> float:
        return 1e-6 * int(self.get("sample", annotation["sample_token"])["timestamp"])

    def _pack(self, table: str, records: Iterable[Record], more_fields: tuple[str, ...] = ()) -> None:
        self._records[table] = PackedRecords((*SCHEMA[table], *more_fields), records)

    def _kept_sample_data(self) -> Iterator[Record]:
        """Only what a detector reads: LiDAR sweeps, and images of key frames."""
        for record in self._checked("sample_data"):
            calibrated = self._records["calibrated_sensor"].get(record["calibrated_sensor_token"])
            if calibrated is None or calibrated["sensor_token"] not in self._records["sensor"]:
                raise self._dangling("sample_data", record, "calibrated_sensor_token", "calibrated_sensor")
            sensor = self._records["sensor"][calibrated["sensor_token"]]
            record["channel"], record["sensor_modality"] = sensor["channel"], sensor["modality"]
            if sensor["channel"] == "LIDAR_TOP":
                yield record
            elif sensor["modality"] == "camera" and record["is_key_frame"]:
                yield {**record, "prev": ""}  # an image between key frames, which is not kept

    def _kept_poses(self) -> Iterator[Record]:
        needed = {record["ego_pose_token"] for record in self.sample_data}
        return (pose for pose in self._checked("ego_pose") if pose["token"] in needed)

    def _checked(self, table: str) -> Iterator[Record]:
        """The records of a table with the fields of the schema, each checked."""
        fields, optional, seen = SCHEMA[table], OPTIONAL.get(table, ()), set()
        for record in stream_array(self._tables / f"{table}.json"):
            for field, kind in fields.items():
                if field not in record:
                    raise ValueError(f"{self._where(table, record)} has no {field}")
                if not kind.holds(record[field]):
                    raise self._wrong(table, record, field, kind.words)
            if record["token"] in seen:
                raise ValueError(f"{self._where(table, record)} is there twice")
            seen.add(record["token"])
            yield {f: record[f] for f in (*fields, *optional) if f in record}

    def _check_references(self, table: str) -> None:
        targets = {field: target for (source, field), target in REFERENCES.items() if source == table}
        for record in self._records[table].values():
            for field, target in targets.items():
                value = record[field]
                for token in value if isinstance(value, list) else [value]:
                    if token and token not in self._records[target]:
                        raise self._dangling(table, record, field, target)

    def _check_maps(self) -> None:
        for record in self._records["map"].values():
            path = Path(self.dataroot, record["filename"])
            if not path.is_file():
                raise FileNotFoundError(f"{self.dataroot} is incomplete: there is no map {path}; unpack the maps again")

    def _check_categories(self) -> None:
        """A misspelt category would be an object that silently is none. Versions of one's own may have others."""
        if self.version in OFFICIAL_SPLITS:
            for record in self._records["category"].values():
                if not record["name"].startswith(_CATEGORIES):
                    raise self._wrong("category", record, "name", "a category of nuScenes")
            for record in self._records["attribute"].values():
                if record["name"] not in ATTRIBUTE_NAMES:
                    raise self._wrong("attribute", record, "name", "an attribute of nuScenes")

    def _link(self) -> None:
        for sample in self._records["sample"].values():
            sample["data"], sample["anns"] = {}, []
        for record in self.sample_data:
            sample = self._records["sample"][record["sample_token"]]
            if record["is_key_frame"]:
                sample["data"][record["channel"]] = record["token"]
                if abs(record["timestamp"] - sample["timestamp"]) > _KEY_FRAME_SLACK_US:
                    raise self._wrong("sample_data", record, "timestamp", "within a second of its sample's")
            pose = self.get("ego_pose", record["ego_pose_token"])
            if abs(pose["timestamp"] - record["timestamp"]) > _KEY_FRAME_SLACK_US:
                raise self._wrong("sample_data", record, "timestamp", "within a second of its ego pose's")
            earlier = self._records["sample_data"].get(record["prev"])
            if earlier is not None and earlier["timestamp"] >= record["timestamp"]:
                raise self._wrong("sample_data", record, "prev", "a record of an earlier time")
        for record in self._records["sample_annotation"].values():
            self._records["sample"][record["sample_token"]]["anns"].append(record["token"])

    def _where(self, table: str, record: Record) -> str:
        return f"{self._tables / table}.json: record {str(record.get('token'))[:64]!r}"

    def _wrong(self, table: str, record: Record, field: str, words: str) -> ValueError:
        return ValueError(f"{self._where(table, record)}: {field} is not {words}: {str(record[field])[:80]}")

    def _dangling(self, table: str, record: Record, field: str, target: str) -> ValueError:
        return ValueError(
            f"{self._where(table, record)}: {field} refers to {str(record[field])[:80]!r}, which {target}.json lacks"
        )
