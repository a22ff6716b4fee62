"""Files that people exchange are data: none of them runs anything when it is read."""

import functools
import os
import pickle
import tarfile
import threading
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file
from tiny_training import tiny_config, write_tiny_data

from perception.engine.bad_batch import BadBatch
from perception.engine.checkpoints import latest_checkpoint, load_weights, read_checkpoint
from perception.engine.convert import read_weights
from perception.engine.run import train
from perception.export.manifest import read_manifest


class Calls:
    """Pickles as a call that leaves a witness behind: what a harmful file does."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.witness}",)


def zip_of_torch(path: Path, content: Any) -> None:
    torch.save(content, path)


def old_torch(path: Path, content: Any) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def bare_pickle(path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content))


def oldest_torch(path: Path, content: Any) -> None:
    """The tar of torch before 0.1.10."""
    inner = path.with_suffix(".pickle")
    bare_pickle(inner, content)
    with tarfile.open(path, "w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            tar.add(inner, name)


READERS: dict[str, Callable[[Path], Any]] = {
    "read_checkpoint": read_checkpoint,
    "load_weights": lambda path: load_weights(torch.nn.Linear(1, 1), str(path)),
    "read_weights": read_weights,
    "mmengine": lambda path: CheckpointLoader.load_checkpoint(str(path)),
    "latest_checkpoint": lambda path: latest_checkpoint(path.parent),
    "bad batch": BadBatch.read,
}


@pytest.mark.parametrize("write", [zip_of_torch, old_torch, oldest_torch, bare_pickle])
@pytest.mark.parametrize("place", ["state_dict", "meta", "message_hub", "optimizer"])
@pytest.mark.parametrize("reader", READERS)
def test_checkpoints_run_nothing(
    tmp_path: Path, reader: str, place: str, write: Callable[[Path, Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # what people set to make old files load
    path, witness = tmp_path / "epoch_1.pth", tmp_path / "witness"
    content: dict[str, Any] = {"state_dict": {"weight": torch.zeros(1, 1)}, place: Calls(witness)}
    write(path, content)
    with pytest.raises(ValueError, match=r"epoch_1\.pth|none of the 1 checkpoints"):
        READERS[reader](path)
    assert not witness.exists()


def test_arrays_of_objects_run_nothing(tmp_path: Path) -> None:
    path, witness = tmp_path / "weights.npz", tmp_path / "witness"
    np.savez(path, **{"weights/a": np.array([Calls(witness)], dtype=object)})
    with pytest.raises(ValueError, match=r"weights\.npz cannot be read"):
        read_weights(path)
    assert not witness.exists()


def test_safetensors_load_and_a_pickle_under_their_name_runs_nothing(tmp_path: Path) -> None:
    path, witness = tmp_path / "weights.safetensors", tmp_path / "witness"
    weights = {"conv.weight": torch.arange(6.0).view(2, 3)}
    save_file(weights, path)
    assert torch.equal(read_weights(path)["conv.weight"], weights["conv.weight"])
    whole = path.read_bytes()
    huge = (1 << 62).to_bytes(8, "little") + whole[8:]
    elsewhere = whole.replace(b'"data_offsets":[0,24]', b'"data_offsets":[0,99]')
    assert elsewhere != whole
    for content in (pickle.dumps(Calls(witness)), huge, elsewhere, whole[:-4], whole[8:], b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"weights\.safetensors cannot be read"):
            read_weights(path)
    zip_of_torch(path, {"state_dict": Calls(witness)})
    with pytest.raises(ValueError, match=r"weights\.safetensors cannot be read"):
        read_weights(path)
    assert not witness.exists()


def test_an_artifacts_manifest_runs_nothing(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    bare_pickle(tmp_path / "manifest.json", {"format_version": Calls(witness)})
    with pytest.raises(ValueError, match=r"manifest\.json is not valid JSON"):
        read_manifest(tmp_path)
    assert not witness.exists()


def test_resuming_does_not_run_the_config_that_a_checkpoint_carries(tmp_path: Path) -> None:
    """mmengine's Runner.resume evaluates meta["config"] as a Python file."""
    infos, witness = write_tiny_data(tmp_path / "data"), tmp_path / "witness"
    options = {"train_cfg.max_epochs": 1, "param_scheduler.0.total_steps": 1}
    train(tiny_config(infos, **options), tmp_path / "run")
    path = tmp_path / "run" / "epoch_1.pth"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["meta"]["config"] = f"import os\nos.system('touch {witness}')\n"
    torch.save(checkpoint, path)
    train(tiny_config(infos, **options), tmp_path / "run", resume=True)
    assert not witness.exists()


def test_downloads_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine fetches load_from="http://..." with a loader that trusts it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    witness = tmp_path / "witness"
    torch.save({"state_dict": Calls(witness)}, tmp_path / "evil.pth")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(pickle.UnpicklingError, match="Weights only"):
            CheckpointLoader.load_checkpoint(f"http://127.0.0.1:{server.server_port}/evil.pth")
        server.shutdown()
    assert (tmp_path / "cache").is_dir() and not witness.exists()
