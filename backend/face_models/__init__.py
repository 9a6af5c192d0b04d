"""Face models behind one interface, loaded by name."""

from collections.abc import Callable
from functools import lru_cache

from backend.errors import UsageError
from backend.face_models.ict import IctFaceKit
from backend.face_models.morphable_model import KeyOffsets, Licence, MorphableModel, Topology
from backend.face_models.open_head import OpenHead

__all__ = ["IctFaceKit", "KeyOffsets", "Licence", "MorphableModel", "OpenHead", "Topology", "load_face_model"]

_MODELS: dict[str, Callable[[], MorphableModel]] = {"open_head": OpenHead, "ict": IctFaceKit}


@lru_cache(maxsize=4)
def load_face_model(name: str = "open_head") -> MorphableModel:
    """A face model by name; read from disk once in a process.

    Raises:
        UsageError: there is no such model.
    """
    if name not in _MODELS:
        raise UsageError("unknown-face-model", f"There is no face model '{name}'. There is: {', '.join(_MODELS)}.")
    return _MODELS[name]()
