"""Builds `perception/_C.so`: the torch-free kernels of csrc/kernels and their torch bindings in csrc/torch.

The CPU kernels are always built. The CUDA kernels are built when torch has CUDA and nvcc is found.

Environment variables:
    PERCEPTION_MARCH        value of -march (default "native"; set e.g. "x86-64-v3" to build for another machine)
    PERCEPTION_FORCE_CPU    set to 1 to leave the CUDA kernels out
"""

import os
from pathlib import Path

from setuptools import setup
from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CppExtension, CUDAExtension
from torch.version import cuda as torch_cuda

ROOT = Path(__file__).parent


def sources(pattern: str, *folders: str) -> list[str]:
    return sorted(p.relative_to(ROOT).as_posix() for folder in folders for p in (ROOT / "csrc" / folder).glob(pattern))


def bindings() -> str:
    """One file that includes all of csrc/torch: most of each one's compile time would go into torch's headers."""
    unit = ROOT / "build" / "bindings.cpp"
    text = "".join(f'#include "{ROOT / name}"\n' for name in sources("*.cpp", "torch"))
    if not unit.is_file() or unit.read_text() != text:
        unit.parent.mkdir(exist_ok=True)
        unit.write_text(text)
    return unit.relative_to(ROOT).as_posix()


def extensions() -> list[CppExtension]:
    with_cuda = torch_cuda is not None and CUDA_HOME is not None and os.environ.get("PERCEPTION_FORCE_CPU") != "1"
    # onnx_inputs.cpp is a C interface, which has no binding.
    files = [bindings(), *(name for name in sources("*.cpp", "kernels") if not name.endswith("/onnx_inputs.cpp"))]
    march = os.environ.get("PERCEPTION_MARCH", "native")
    compile_args = {
        "cxx": ["-O3", "-std=c++20", "-fopenmp", "-fno-math-errno", "-fvisibility=hidden", "-Wall", f"-march={march}"]
    }
    macros = []
    if with_cuda:
        files += sources("*.cu", "kernels")
        compile_args["nvcc"] = ["-O3", "-std=c++20", "--expt-relaxed-constexpr"]
        macros.append(("PERCEPTION_WITH_CUDA", "1"))
    kind = CUDAExtension if with_cuda else CppExtension
    return [
        kind(
            "perception._C",
            files,
            include_dirs=[str(ROOT / "csrc" / "kernels")],
            define_macros=macros,
            extra_compile_args=compile_args,
            extra_link_args=["-fopenmp"],
        )
    ]


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExtension.with_options(no_python_abi_suffix=True)})
