"""What the panel asks: the photographs of the next head and how to make it, stored with the scene."""

from __future__ import annotations

import functools
from pathlib import Path

import bpy

from .face_models import OPEN_HEAD, Asset, named, why_not
from .session import session

TEXTURE_SIZES = (
    ("1024", "1024 px", "A draft: quickest to make, enough from far away"),
    ("2048", "2048 px", "What most photographs hold"),
    ("4096", "4096 px", "For sharp photographs of at least 12 megapixels; takes longer and more memory"),
)
METHODS = (
    (
        "eye-motion",
        "Eye Motion",
        "A network looks at the whole face first, shut and half-shut eyes above all; the fit starts from what it saw. "
        "For one photograph",
    ),
    (
        "deep-fusion",
        "Deep Fusion",
        "A network looks at up to three photographs together, from the front and from both sides, given in any order; "
        "Eye Motion says what the face does, and the fit starts from both. For two or more photographs: nearest to the "
        "person on the average",
    ),
    (
        "spectral",
        "Spectral",
        "Another network says who it is, Eye Motion what the face does; the fit starts from both",
    ),
    ("fit", "Fit", "The head is fitted to the landmarks of the photographs alone: the quickest"),
)
"""How a head is made. The names are those of the backend."""
METHODS_FOR_SEVERAL = ("deep-fusion",)
"""Those that should have several photographs of the person."""

LARGEST_FACE = 0


class LIFEMASK_PG_photograph(bpy.types.PropertyGroup):
    """One photograph of the person."""

    filepath: bpy.props.StringProperty(
        name="Photograph", description="A picture of the person, one photograph a line", subtype="FILE_PATH"
    )
    face: bpy.props.IntProperty(
        name="Face",
        description="Which person in the photograph, 1 the largest; 0 takes the largest",
        default=LARGEST_FACE,
        min=LARGEST_FACE,
        soft_max=10,
    )


@functools.lru_cache(maxsize=64)  # Blender reads the strings of a dynamic list later: somebody has to keep them
def _items(models: tuple[Asset, ...], chosen: str, label: str = "") -> list[tuple[str, str, str, str, int]]:
    """The choices as Blender takes them: the installed models, and what is chosen where that is not installed."""
    items = [
        (model.name, model.label, model.why_outdated or model.licence_in_words, "ERROR" if model.outdated else "NONE")
        for model in models
    ]
    if named(chosen, models) is None:
        items.append((chosen, label or chosen, "Not installed here: add it in the preferences of Lifemask", "ERROR"))
    return [(*item, _number(item[0])) for item in items]


_numbers = {OPEN_HEAD: 0}


def _number(name: str) -> int:
    """What Blender knows a choice by: the same as long as it runs, even when models are added while a menu is open."""
    return _numbers.setdefault(name, len(_numbers))


def _name_in(settings) -> str:
    return getattr(settings, "face_model_name", "") or OPEN_HEAD  # Blender asks without settings, too


def _choices(settings, context) -> list[tuple[str, str, str, str, int]]:
    chosen = _name_in(settings)
    absent = named(chosen, session.assets or ())
    return _items(session.face_models, chosen, absent.label if absent else "")


def _number_of(settings) -> int:
    return _number(_name_in(settings))


def _choose(settings, number: int) -> None:
    settings.face_model_name = next(name for name, given in _numbers.items() if given == number)


class LIFEMASK_PG_scene(bpy.types.PropertyGroup):
    """The next head of this scene."""

    photographs: bpy.props.CollectionProperty(type=LIFEMASK_PG_photograph)
    active_photograph: bpy.props.IntProperty(name="Photograph", description="The line that is chosen", min=0)
    texture_size: bpy.props.EnumProperty(
        name="Texture",
        description="Width and height of the skin texture",
        items=TEXTURE_SIZES,
        default="2048",
    )
    use_texture: bpy.props.BoolProperty(
        name="Texture from Photographs",
        description="Take the skin from the photographs. Off: the plain skin of the face model, which is quicker",
        default=True,
    )
    use_detail: bpy.props.BoolProperty(
        name="Skin Detail",
        description="Make fine relief of the skin that wrinkles as the sliders move (open head only). Off: quicker",
        default=True,
    )
    focal_length: bpy.props.FloatProperty(
        name="Focal Length",
        description="Of the lens, for 35 mm film. 0 takes what the photographs say, or estimates it",
        default=0.0,
        min=0.0,
        soft_max=300.0,
        max=2000.0,
        subtype="DISTANCE_CAMERA",
        precision=1,
    )
    # What is stored is the name, so that a file keeps its choice on a computer where the model is not installed.
    face_model_name: bpy.props.StringProperty(
        name="Face Model", description="The name of the chosen face model", default=OPEN_HEAD, options={"HIDDEN"}
    )
    face_model: bpy.props.EnumProperty(
        name="Face Model",
        description="The model that the head is made from; its licence holds for the head",
        items=_choices,
        get=_number_of,
        set=_choose,
        options=set(),  # it is not animated
    )
    method: bpy.props.EnumProperty(
        name="Method", description="How the head is found in the photographs", items=METHODS, default="eye-motion"
    )


def face_model_of(scene: bpy.types.Scene) -> Asset | None:
    """The face model that is chosen; None where it is not installed here."""
    return named(scene.lifemask.face_model_name, session.face_models)


def why_no_head(scene: bpy.types.Scene) -> str:
    """Why no head can be made from the face model that is chosen, in a sentence; "" where one can."""
    name, models = scene.lifemask.face_model_name, session.face_models
    return why_not(name, models, session.settings.for_sale, session.assets or ())


CLASSES = (LIFEMASK_PG_photograph, LIFEMASK_PG_scene)


def chosen_photographs(scene: bpy.types.Scene) -> list[tuple[Path, int | None]]:
    """The photographs in the list and the face wanted of each, 1 the largest, None where nothing was chosen.

    Empty lines are left out; paths relative to the Blender file are made absolute.
    """
    return [
        (Path(bpy.path.abspath(line.filepath)), line.face or None)
        for line in scene.lifemask.photographs
        if line.filepath
    ]


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.lifemask = bpy.props.PointerProperty(type=LIFEMASK_PG_scene)


def unregister() -> None:
    del bpy.types.Scene.lifemask
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
