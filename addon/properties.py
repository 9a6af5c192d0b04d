"""What the panel asks: the photographs of the next head and how to make it, stored with the scene."""

from __future__ import annotations

from pathlib import Path

import bpy

TEXTURE_SIZES = (
    ("1024", "1024 px", "A draft: quickest to make, enough from far away"),
    ("2048", "2048 px", "What most photographs hold"),
    ("4096", "4096 px", "For sharp photographs of at least 12 megapixels; takes longer and more memory"),
)
OPEN_HEAD = "open_head"
LICENCE_OF_FACE_MODEL = {
    OPEN_HEAD: "Free for any use, selling the head included (CC0)",
}
"""What a person may do with a head made from each face model, in words. The names are those of the backend."""

FACE_MODELS = ((OPEN_HEAD, "Open Head", LICENCE_OF_FACE_MODEL[OPEN_HEAD]),)

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
    face_model: bpy.props.EnumProperty(
        name="Face Model",
        description="The model that the head is made from; its licence holds for the head",
        items=FACE_MODELS,
        default=OPEN_HEAD,
    )


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
