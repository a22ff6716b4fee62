"""Info files: whole or not at all, and never anything run from them."""

import collections
import json
import os
import pickle

import numpy as np
import pytest

from perception.datasets.info_files import read_info_file, stream_info_file, write_info_file

METAINFO = {"dataset": "nuscenes", "info_version": "1.1"}


def test_json_round_trip_one_sample_per_line(tmp_path):
    path = tmp_path / "new" / "infos.json"
    samples = [{"token": "a", "velocity": [None, 1.5]}, {"token": "b"}]
    assert write_info_file(path, METAINFO, map(json.dumps, samples)) == 2
    assert read_info_file(path) == (METAINFO, samples)
    assert len(path.read_text().splitlines()) == 3 + len(samples)
    assert write_info_file(path, METAINFO, []) == 0
    assert read_info_file(path) == (METAINFO, [])


def test_a_failure_while_writing_keeps_the_file_that_was_there(tmp_path):
    path = tmp_path / "infos.json"
    write_info_file(path, METAINFO, ['{"token": "old"}'])

    def failing():
        yield '{"token": "new"}'
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_info_file(path, METAINFO, failing())
    assert read_info_file(path)[1] == [{"token": "old"}]
    assert os.listdir(tmp_path) == ["infos.json"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_mmdet3d_pickles_load_with_arrays_and_numpy_scalars(tmp_path, protocol):
    samples = [
        {
            "token": "a",
            "matrix": np.arange(16, dtype=np.float32).reshape(4, 4),
            "num_lidar_pts": np.int64(7),
            "bbox_3d_isvalid": np.bool_(True),
            "names": np.array(["car", "bus"]),
            "counts": collections.OrderedDict(x=1),
        }
    ]
    path = tmp_path / "infos.pkl"
    path.write_bytes(pickle.dumps({"metainfo": METAINFO, "data_list": samples}, protocol=protocol))
    metainfo, loaded = read_info_file(path)
    assert metainfo == METAINFO
    np.testing.assert_array_equal(loaded[0].pop("matrix"), samples[0].pop("matrix"))
    assert loaded[0].pop("names").tolist() == samples[0].pop("names").tolist()
    assert loaded == samples


class Calls:
    """Pickles as a call of any function: what a harmful file does."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, eval, exec, np.load, getattr, __import__, print])
def test_a_pickle_that_calls_anything_is_refused_and_nothing_runs(tmp_path, function):
    path, witness = tmp_path / "infos.pkl", tmp_path / "witness"
    command = f"touch {witness}" if function is os.system else f"open({str(witness)!r}, 'w')"
    content = {"metainfo": METAINFO, "data_list": [Calls(function, command)]}
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"infos\.pkl is refused: it asks for"):
        read_info_file(path)
    assert not witness.exists()


def test_objects_inside_arrays_are_refused_too(tmp_path):
    path = tmp_path / "infos.pkl"
    hidden = np.array([Calls(os.system, "true")], dtype=object)
    path.write_bytes(pickle.dumps({"metainfo": METAINFO, "data_list": [hidden]}))
    with pytest.raises(ValueError, match="is refused"):
        read_info_file(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.json", b'{"metainfo": {}, "data_list": [', "cut.json is not valid JSON"),
        ("cut.pkl", pickle.dumps({"metainfo": {}, "data_list": [1, 2, 3]})[:-9], "cut.pkl is refused"),
        ("noise.pkl", bytes(range(256)), "noise.pkl is refused"),
        ("empty.pkl", b"", "empty.pkl is refused"),
        ("old.pkl", pickle.dumps({"infos": [], "metadata": {}}), "before version 1.1"),
        ("other.json", b"[1, 2]", "is not an info file"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_info_file(tmp_path / name)


def test_a_missing_file_names_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match="create_data"):
        read_info_file(tmp_path / "none.json")


def test_streaming_gives_the_same_samples_one_by_one(tmp_path):
    samples = [{"token": str(i), "name": "a, b]}", "values": [i, None]} for i in range(5)]
    for count in (0, 1, 5):
        path = tmp_path / f"{count}.json"
        write_info_file(path, METAINFO, map(json.dumps, samples[:count]))
        metainfo, number, stream = stream_info_file(path)
        assert (metainfo, number) == (METAINFO, count) and iter(stream) is stream
        assert list(stream) == samples[:count]


@pytest.mark.parametrize("suffix", ["json", "pkl"])
def test_streaming_reads_other_layouts_too(tmp_path, suffix):
    path, content = tmp_path / f"infos.{suffix}", {"metainfo": METAINFO, "data_list": [{"token": "a"}]}
    path.write_bytes(pickle.dumps(content) if suffix == "pkl" else json.dumps(content, indent=1).encode())
    metainfo, count, stream = stream_info_file(path)
    assert (metainfo, count, list(stream)) == (METAINFO, 1, [{"token": "a"}])


def test_streaming_names_a_damaged_line_and_refuses_a_file_cut_short(tmp_path):
    path = tmp_path / "infos.json"
    write_info_file(path, METAINFO, ['{"token": "a"}', '{"token": ', '{"token": "c"}'])
    stream = stream_info_file(path)[2]
    assert next(stream) == {"token": "a"}
    with pytest.raises(ValueError, match=r"infos\.json, line 4, is not valid JSON"):
        next(stream)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r"infos\.json is not valid JSON"):
        stream_info_file(path)
    with pytest.raises(FileNotFoundError, match="create_data"):
        stream_info_file(tmp_path / "none.json")
