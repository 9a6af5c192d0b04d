"""What a person may ask of one reconstruction, and what comes back."""

from dataclasses import dataclass, field
from pathlib import Path

BLENDER_FORMATS = ("blend", "fbx", "obj", "glb", "usd")
# The choices of addon/export_presets.py, which the backend hands on and never imports; a test holds them equal.
EXPORT_PRESETS = (
    "fbx", "unreal", "unity", "glb", "obj", "obj-keys", "usd", "blend", "metahuman", "faceit",
)  # fmt: skip
EXPORT_KEYS = ("all", "used", "none")
EXPORT_PARTS = ("joined", "separate")
EXPORT_DISPLACEMENT = ("off", "applied")
DEVICES = ("auto", "cuda", "mps", "cpu")
DEFAULT_TEXTURE_SIZE = 2048
SMALLEST_TEXTURE_SIZE = 64
LARGEST_TEXTURE_SIZE = 8192


@dataclass(frozen=True)
class ReconstructOptions:
    """One reconstruction as asked for.

    Attributes:
        face: which face of the one photograph, 1 the largest; None for the largest of each photograph.
        focal_length_mm: 35 mm equivalent, overrides what the photographs say; None to use theirs or to estimate it.
        formats: files for Blender and others besides the result folder, out of `BLENDER_FORMATS`.
        texture_size: width and height of the albedo in pixels.
        texture: False leaves the albedo at the plain skin of the face model.
        device: one of `DEVICES`.
        overwrite: an output folder of an earlier run may be replaced.
    """

    face: int | None = None
    focal_length_mm: float | None = None
    formats: tuple[str, ...] = ()
    texture_size: int = DEFAULT_TEXTURE_SIZE
    texture: bool = True
    device: str = "auto"
    overwrite: bool = False


@dataclass
class ReconstructReport:
    """What one reconstruction made.

    Attributes:
        folder: where the files are.
        timings: seconds by stage name, in the order they were run.
        warnings: sentences for the person.
        landmark_error: median distance of the fitted landmarks from the detected ones over the distance of the outer
            eye corners, or None where it was not measured.
    """

    folder: Path
    timings: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    landmark_error: float | None = None
