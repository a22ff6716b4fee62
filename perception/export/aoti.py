"""The network as an AOTInductor package: native code that libtorch runs without Python."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch._inductor import aoti_compile_and_package
from torch.export import Dim, ExportedProgram

from perception.export.folder import new_artifact
from perception.export.manifest import MANIFEST_NAME, ExportSpec, manifest_of
from perception.export.vehicle import Precision, VehicleNetwork, VehicleShape, example_inputs
from perception.model import PerceptionNetwork

MODEL_NAME = "model.pt2"
# Freezing folds the norms into the convolutions and lays weights out once. The number of threads is the caller's, not
# that of the machine that compiles.
INDUCTOR = {"freezing": True, "cpp.dynamic_threads": True, "aot_inductor.check_lowerbound": False}


def export_program(network: PerceptionNetwork, shape: VehicleShape, precision: Precision = "fp32") -> ExportedProgram:
    """The whole network, decoding included, as one graph in which only the number of points is free.

    The network is put into evaluation mode.
    """
    vehicle = VehicleNetwork(network.eval(), precision)
    inputs = example_inputs(vehicle.input_names, shape, min(1000, shape.max_points))
    dynamic = tuple(
        {0: Dim("points", min=0, max=shape.max_points)} if n == "points" else None for n in vehicle.input_names
    )
    with torch.no_grad():
        return torch.export.export(vehicle, inputs, dynamic_shapes={"inputs": dynamic})


def write_artifact(
    network: PerceptionNetwork, spec: ExportSpec, out: str | Path, precision: Precision = "fp32"
) -> Path:
    """Compile the network into out/model.pt2 and describe it in out/manifest.json. Returns `out`.

    The folder appears whole or not at all; an artifact that is there already is replaced. Compiling takes minutes and a
    C++ compiler.

    Raises FileExistsError when `out` exists and is no artifact.
    """
    out = Path(out)
    with new_artifact(out) as folder:
        program = export_program(network, spec.shape, precision)
        with torch.no_grad():
            aoti_compile_and_package(program, package_path=str(folder / MODEL_NAME), inductor_configs=dict(INDUCTOR))
        manifest = manifest_of(VehicleNetwork(network), spec, folder / MODEL_NAME, precision)
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return out
