"""Face models behind one interface, loaded by name."""

from functools import lru_cache
from pathlib import Path

from backend import asset_store
from backend.errors import UsageError
from backend.face_models.ict import IctFaceKit
from backend.face_models.morphable_model import KeyOffsets, Licence, MorphableModel, Topology
from backend.face_models.open_head import OpenHead
from backend.face_models.registered_head import RegisteredHead
from backend.options import check_face_model

__all__ = [
    "IctFaceKit", "KeyOffsets", "Licence", "MorphableModel", "OpenHead", "RegisteredHead", "Topology",
    "load_face_model",
]  # fmt: skip

MODELS_IN_MEMORY = 4


def load_face_model(name: str = "open_head") -> MorphableModel:
    """A face model by name, the built-in one or one that was added; read from disk once in a process.

    Raises:
        UsageError: there is no such model ("no-such-face-model"), or what was added is damaged ("bad-face-model-file").
    """
    if name == "open_head":
        return _open_head()
    path = asset_store.model_path(name)
    if path is None:
        check_face_model(name)
        raise UsageError("no-such-face-model", f"The face model {name} was removed just now.")
    return _registered(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _open_head() -> OpenHead:
    return OpenHead()


@lru_cache(maxsize=MODELS_IN_MEMORY)
def _registered(path: Path, written: int) -> RegisteredHead:
    """`written`: when the file was, so that a model that was added anew is read anew."""
    return RegisteredHead.load(path)
