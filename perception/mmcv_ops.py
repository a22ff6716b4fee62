"""Lets mmdet and mmdet3d run on mmcv-lite: the mmcv operators this project reaches, served by our own kernels.

mmcv's Python looks its compiled operators up in a module named `mmcv._ext`, which mmcv-lite does not have, and without
which neither mmdet nor mmdet3d imports. `install()` makes a module of that name available. A full mmcv is left alone:
Python asks our finder only after every other one has found nothing.
"""

import sys
from collections.abc import Callable
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_NAME = "mmcv._ext"


def _call(name: str, *args: Any, **kwargs: Any) -> Any:
    from perception import mmcv_functions  # loads the kernels, which most programs that import mmdet never need

    if name not in mmcv_functions.__all__:
        raise NotImplementedError(
            f"mmcv operator '{name}' is not among those this project provides in place of mmcv's compiled extension "
            "(perception/mmcv_functions.py lists them). To use it, install the full mmcv 2.1.0 instead of mmcv-lite."
        )
    return getattr(mmcv_functions, name)(*args, **kwargs)


class _Ext(ModuleType):
    """Has every public name: mmcv checks at import that its operators exist, long before it calls any of them."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(_call, name)


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(_NAME, self, origin=__file__) if fullname == _NAME else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Ext(_NAME)

    def exec_module(self, module: ModuleType) -> None:
        pass


def install() -> None:
    """Make `mmcv._ext` importable. Call it before importing mmcv.ops, mmdet or mmdet3d; calling again does nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
