"""What a person may ask of one reconstruction, and what comes back."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path

from .errors import UsageError

BLENDER_FORMATS = ("blend", "fbx", "obj", "glb", "usd")
# The choices of addon/export_presets.py, which the backend hands on and never imports; a test holds them equal.
PRESET_FORMATS = {
    "fbx": "fbx", "unreal": "fbx", "unity": "fbx", "glb": "glb", "obj": "obj", "obj-keys": "obj", "usd": "usd",
    "blend": "blend", "metahuman": "fbx", "faceit": "blend",
}  # fmt: skip
EXPORT_PRESETS = tuple(PRESET_FORMATS)
EXPORT_KEYS = ("all", "used", "none")
EXPORT_PARTS = ("joined", "separate")
EXPORT_DISPLACEMENT = ("off", "applied")
DEFAULT_FACE_MODEL = "open_head"
METHODS = ("deep-fusion", "eye-motion", "fit", "spectral")
"""How a head is made: a paper's network and then the fit, or the fit to the landmarks alone."""
DEFAULT_METHOD = "eye-motion"
"""For one photograph. Deep fusion's heads are nearer, of several above all (`evaluate shape --methods`), but it takes
one more network and is made for several."""
DEVICES = ("auto", "cuda", "mps", "cpu")
DEFAULT_TEXTURE_SIZE = 2048
SMALLEST_TEXTURE_SIZE = 64
LARGEST_TEXTURE_SIZE = 8192
DEFAULT_DETAIL_SIZE = 1024
DETAILED_FACE_MODEL = "open_head"
"""The face model whose texture layout the network of skin detail knows."""
SMALLEST_DETAIL_SIZE, LARGEST_DETAIL_SIZE = 64, 4096


def face_model_names() -> tuple[str, ...]:
    """The face models that a head can be made from: the built-in one, then those that were added."""
    from . import asset_store

    return (DEFAULT_FACE_MODEL, *(asset.name for asset in asset_store.installed() if not asset.outdated))


def check_face_model(name: str) -> None:
    """Says why no head can be made from a face model, if none can.

    Raises:
        UsageError: "no-such-face-model", which says what there is and how more come; "outdated-face-model".
    """
    names = face_model_names()
    if name in names:
        return
    from . import asset_store
    from .asset_catalogue import FACE_MODEL, known, no_such_asset

    if (asset := asset_store.find(name)) is not None and asset.outdated:
        raise asset_store.is_outdated(asset)

    entry = known(name)
    if entry is None or entry.kind != FACE_MODEL:
        raise no_such_asset(name, names, f"No head can be made from {name}: there is no such face model")
    raise UsageError(
        "no-such-face-model",
        f"No head can be made from {name} yet: {entry.label} has not been added. {entry.how_to_get} "
        f"There is: {', '.join(names)}.",
        entry.fix,
    )


@dataclass(frozen=True)
class ReconstructOptions:
    """One reconstruction as asked for.

    Attributes:
        faces: which face of each photograph, 1 the largest; None, or an entry that is missing, for the largest.
        focal_length_mm: 35 mm equivalent, overrides what the photographs say; None to use theirs or to estimate it.
        formats: files for Blender and others besides the result folder, out of `BLENDER_FORMATS`.
        texture_size: width and height of the albedo in pixels.
        detail: False leaves the displacement maps of the skin out.
        detail_size: width and height of the displacement maps in texels.
        texture: False leaves the albedo at the plain skin of the face model.
        device: one of `DEVICES`.
        overwrite: an output folder of an earlier run may be replaced.
        export_options: of the files, JSON as `addon/export_presets.py` reads it; "" for its defaults.
        blender: the Blender program, or interpreter with bpy, that writes the files; None for the one installed.
        portrait: render.png too, where Blender writes files.
        face_model: what the head is made from, one of `face_model_names()`.
        method: how, one of `METHODS`.
        for_sale: the head is to be sold; what a licence forbids to sell is then refused.
    """

    faces: tuple[int | None, ...] = ()
    focal_length_mm: float | None = None
    formats: tuple[str, ...] = ()
    texture_size: int = DEFAULT_TEXTURE_SIZE
    texture: bool = True
    detail: bool = True
    detail_size: int = DEFAULT_DETAIL_SIZE
    device: str = "auto"
    overwrite: bool = False
    export_options: str = ""
    blender: Path | None = None
    portrait: bool = True
    face_model: str = DEFAULT_FACE_MODEL
    method: str = DEFAULT_METHOD
    for_sale: bool = False

    @classmethod
    def from_request(cls, asked: dict, faces: tuple[int | None, ...] = ()) -> "ReconstructOptions":
        """What the add-on asks for in a message (docs/protocol.md); what it leaves out has its default.

        Raises UsageError for a face model or a method that does not exist.
        """
        face_model = str(asked.get("face_model") or cls.face_model)
        check_face_model(face_model)
        method = asked.get("method", cls.method)
        if method not in METHODS:
            raise UsageError("no-such-method", f"There is no method {method}. There are: {', '.join(METHODS)}.")
        export_options = asked.get("export_options") or ""
        if isinstance(export_options, dict):
            export_options = json.dumps(export_options)
        return cls(
            faces=faces,
            focal_length_mm=asked.get("focal_length_mm") or None,
            formats=tuple(asked.get("formats", ())),
            texture_size=int(asked.get("texture_size", cls.texture_size)),
            texture=bool(asked.get("texture", cls.texture)),
            detail=bool(asked.get("detail", cls.detail)),
            detail_size=int(asked.get("detail_size", cls.detail_size)),
            device=str(asked.get("device", cls.device)),
            overwrite=bool(asked.get("overwrite", cls.overwrite)),
            export_options=export_options,
            blender=Path(asked["blender"]) if asked.get("blender") else None,
            portrait=bool(asked.get("portrait", cls.portrait)),
            face_model=face_model,
            method=method,
            for_sale=bool(asked.get("for_sale", cls.for_sale)),
        )

    def as_request(self) -> dict:
        """What `from_request` reads, without the faces, which go with the photographs."""
        asked = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "faces"}
        return asked | {"formats": list(self.formats), "blender": str(self.blender) if self.blender else None}


@dataclass
class ReconstructReport:
    """What one reconstruction made.

    Attributes:
        folder: where the files are.
        timings: seconds by stage name, in the order they were run.
        warnings: sentences for the person.
        landmark_error: median distance of the fitted landmarks from the detected ones over the distance of the outer
            eye corners, or None where it was not measured.
        device: the processor that it was made on.
    """

    folder: Path
    timings: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    landmark_error: float | None = None
    device: str = "cpu"
