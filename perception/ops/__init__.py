"""The operators the network lives on. One file per op; each documents shapes, dtypes, frames and errors.

The kernels are in csrc/kernels (no torch), their bindings in csrc/torch. Importing this package loads the compiled
extension `perception/_C.so` and fails with the remedy when it is missing.
"""

from pathlib import Path

import torch

_LIBRARY = Path(__file__).parent.parent / "_C.so"
if not _LIBRARY.is_file():
    raise ImportError(f"the compiled kernels are missing ({_LIBRARY}): run `make build` (or `pip install -e .`) first")
torch.ops.load_library(_LIBRARY)
