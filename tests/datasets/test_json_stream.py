"""A JSON array read record by record: what json.loads reads, and nothing that it would not."""

import json
import random
from pathlib import Path

import pytest

from perception.datasets import json_stream
from perception.datasets.json_stream import stream_array

TEXT = 'a "quoted" ]}, [ \\ ü€'
RECORDS = [{"token": f"{i:08x}", "text": TEXT, "numbers": [i, -1.5e-3, None], "in": {"a": [{}]}} for i in range(50)]


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 0, 2])
def test_any_layout_in_any_chunks(
    tmp_path: Path, chunk: int, indent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK_BYTES", chunk)
    path = tmp_path / "a.json"
    for records in ([], RECORDS[:1], RECORDS):
        path.write_text(json.dumps(records, indent=indent, ensure_ascii=chunk == 7), encoding="utf-8")
        assert list(stream_array(path)) == records


def test_what_is_no_array_of_records_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    bad = ["", "{}", "[1]", "[{}", "[{},]", "[{} {}]", "[{}] x", '[{"a": NaN}]', '[{"a": Infinity}]', "[{}]]", "null"]
    for text in bad:
        path.write_text(text)
        with pytest.raises(ValueError, match=r"a\.json is not valid JSON after [01] records"):
            list(stream_array(path))
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        list(stream_array(tmp_path / "none.json"))


def test_what_json_refuses_is_refused(tmp_path: Path) -> None:
    """Random damage: never accepted where json.loads refuses, and the same records where it does not."""
    rng, path, accepted = random.Random(0), tmp_path / "a.json", 0
    text = json.dumps(RECORDS[:3], indent=1).encode()
    for _ in range(300):
        damaged = bytearray(text)
        damaged[rng.randrange(len(text))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            expected = json.loads(bytes(damaged))
        except ValueError:
            with pytest.raises(ValueError, match=r"a\.json"):
                list(stream_array(path))
        else:
            accepted += 1
            assert list(stream_array(path)) == expected
    assert 20 < accepted < 280


def test_memory_stays_small_in_a_file_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with open(path, "wb") as file:
        file.write(b'[{"a": "')
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match=r"a\.json is not valid JSON"):
        list(stream_array(path))
