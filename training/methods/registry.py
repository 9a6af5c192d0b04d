"""The methods that can be trained, by the name that a command line uses. Nothing is imported before it is asked for."""

import importlib
from typing import TYPE_CHECKING

from training.suggestions import unknown

if TYPE_CHECKING:
    from training.methods.base import TrainingMethod

METHODS = {
    "attribute-detail": "training.methods.attribute_detail:AttributeDetailTraining",
    "deep-fusion": "training.methods.deep_fusion:DeepFusionTraining",
    "eye-motion": "training.methods.eye_motion:EyeMotionTraining",
    "eye-state": "training.methods.eye_state:EyeStateTraining",
    "face-parsing": "training.methods.face_parsing:FaceParsingTraining",
    "identity-embedding": "training.methods.identity_embedding:IdentityEmbeddingTraining",
    "mesh-autoencoder": "training.methods.mesh_autoencoder:MeshAutoencoderTraining",
    "spectral": "training.methods.spectral:SpectralTraining",
}
"""Name to "module:class"; the class is a `training.methods.base.TrainingMethod`."""


def method_class(name: str) -> "type[TrainingMethod]":
    """The class of a method.

    Raises:
        UsageError: there is no method of this name; names the nearest.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    module, _, attribute = METHODS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def config_folder_name(method: str) -> str:
    """The folder of a method's presets in `training/configs`: its name with underscores."""
    return method.replace("-", "_")
