"""Packed records against a dictionary of them, and what they take."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from perception.datasets import packed_records
from perception.datasets.packed_records import PackedRecords

FIELDS = ("token", "timestamp", "is_key_frame", "translation", "attribute_tokens", "prev")


def records(count: int) -> Iterator[dict[str, Any]]:
    for i in range(count):
        yield {
            "token": f"{i:032x}", "timestamp": 1_600_000_000_000_000 + i, "is_key_frame": i % 2 == 0,
            "translation": [0.1 * i, -3, 1e-9], "attribute_tokens": [f"{i + 7:032x}"] * (i % 3), "prev": "\u00e9",
            "left out": i,
        }  # fmt: skip


@pytest.mark.parametrize("equal_hashes", [False, True])
def test_every_record_is_found_as_it_was(monkeypatch, equal_hashes):
    if equal_hashes:
        monkeypatch.setattr(packed_records, "hash", lambda token: int(token, 16) % 5, raising=False)
    packed = PackedRecords(FIELDS, records(200))
    expected = {record["token"]: {field: record[field] for field in FIELDS} for record in records(200)}
    assert len(packed) == 200 and list(packed.values()) == list(expected.values())
    assert all(packed[token] == packed.get(token) == record for token, record in expected.items())
    missing = f"{200:032x}"
    assert missing not in packed and packed.get(missing) is None
    with pytest.raises(KeyError, match=missing):
        packed[missing]


def test_no_records_are_a_table_too():
    packed = PackedRecords(FIELDS, [])
    assert len(packed) == 0 and "any" not in packed and list(packed.values()) == []


def test_a_record_takes_a_few_hundred_bytes():
    count = 20_000
    tracemalloc.start()
    packed = PackedRecords(FIELDS, records(count))
    taken, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(packed) == count
    assert taken < 250 * count and most < 300 * count  # 900 as dictionaries
