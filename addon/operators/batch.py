"""A folder of photographs, or a CSV file, becomes a folder of heads in the formats that are wanted."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy_extras.io_utils import ImportHelper

from ..export_presets import PRESETS
from ..session import session
from .export_head import KEYS, PARTS, PICTURE_SIZES
from .reconstruct import can_start, ended, options_of

FORMATS = (
    ("fbx", "FBX", "For game engines and other programs"),
    ("glb", "glTF", "One .glb file, for the web and viewers"),
    ("obj", "OBJ", "The neutral without shape keys, for anything"),
    ("usd", "USD", "For pipelines that speak USD"),
    ("blend", "Blender", "With cameras, photographs and light"),
)
FBX_PRESETS = tuple((name, PRESETS[name].label, PRESETS[name].description) for name in ("fbx", "unreal", "unity"))
OUTPUT_SUFFIX = " heads"


class LIFEMASK_OT_batch(bpy.types.Operator, ImportHelper):
    """Make many heads into files: choose a folder in which each photograph is a person, or a CSV file"""

    bl_idname = "lifemask.batch"
    bl_label = "Make Heads"
    bl_options = {"REGISTER"}

    filter_glob: bpy.props.StringProperty(default="*.csv;*.jpg;*.jpeg;*.png", options={"HIDDEN", "SKIP_SAVE"})
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    output: bpy.props.StringProperty(
        name="Output",
        description='The folder that gets a folder for each person. Empty: beside the chosen one, with " heads" added',
        subtype="DIR_PATH",
        options={"SKIP_SAVE"},
    )
    formats: bpy.props.EnumProperty(
        name="Formats", description="Files of each head", items=FORMATS, options={"ENUM_FLAG"}, default={"fbx"}
    )
    per_person: bpy.props.BoolProperty(
        name="A Folder for Each Person",
        description="Each sub-folder holds the photographs of one person. Off: each photograph is a person",
        default=False,
    )
    resume: bpy.props.BoolProperty(
        name="Resume",
        description="Leave heads that are complete as they are, make the others. Off: make all anew, in their place",
        default=True,
    )
    jobs: bpy.props.IntProperty(
        name="At the Same Time",
        description="Heads made at once; each needs about 1 GB of memory",
        default=1,
        min=1,
        max=16,
    )

    preset: bpy.props.EnumProperty(
        name="FBX For", description="The program that FBX files are for: scale and axes", items=FBX_PRESETS
    )
    keys: bpy.props.EnumProperty(name="Shape Keys", description="Which shape keys the files hold", items=KEYS)
    parts: bpy.props.EnumProperty(
        name="Parts", description="Whether skin, eyes, teeth, tongue and lashes are one object", items=PARTS
    )
    picture_size: bpy.props.EnumProperty(
        name="Pictures",
        description="Longest side of the pictures in the files, in pixels. Pictures are never enlarged",
        items=PICTURE_SIZES,
    )

    @classmethod
    def poll(cls, context):
        return can_start(cls, context.scene)

    def draw(self, context):
        column = self.layout.column()
        column.prop(self, "per_person")
        column.prop(self, "resume")
        column.label(text="Formats")
        column.column(align=True).prop(self, "formats")
        row = column.row()
        row.active = "fbx" in self.formats
        row.prop(self, "preset")
        column.prop(self, "keys")
        column.prop(self, "parts")
        column.prop(self, "picture_size")
        column.separator()
        column.label(text="Output")
        column.prop(self, "output", text="")
        column.prop(self, "jobs")
        column.separator()
        settings = context.scene.lifemask
        column.prop(settings, "use_texture")
        row = column.row()
        row.active = settings.use_texture
        row.prop(settings, "texture_size")
        column.prop(settings, "use_detail")
        column.prop(settings, "face_model")
        column.prop(settings, "method")

    def execute(self, context):
        source = source_of(self.filepath, self.directory)
        if source is None:
            self.report({"ERROR"}, "Choose a folder of photographs, or a CSV file.")
            return {"CANCELLED"}
        if not self.output and not source.name:
            self.report({"ERROR"}, f"{source} is a whole disk, which has no folder beside it. Choose an output folder.")
            return {"CANCELLED"}
        output = Path(bpy.path.abspath(self.output)) if self.output else beside(source)
        session.start_batch(
            {
                "input": str(source),
                "output": str(output),
                "per_person": self.per_person and source.is_dir(),
                "resume": self.resume,
                "overwrite": not self.resume,
                "jobs": self.jobs,
                "options": {
                    **options_of(context.scene),
                    "formats": sorted(self.formats),
                    "export_options": {
                        "preset": self.preset,
                        "keys": self.keys,
                        "parts": self.parts,
                        "texture_size": int(self.picture_size),
                    },
                    "blender": str(session.settings.blender or ""),
                },
            }
        )
        return ended(self)


def source_of(filepath: str, directory: str) -> Path | None:
    """What was chosen: a CSV file, else the folder that the file browser showed; None where there is neither."""
    chosen = Path(bpy.path.abspath(filepath)) if filepath else None
    if chosen is not None and chosen.is_file() and chosen.suffix.lower() == ".csv":
        return chosen
    if chosen is not None and chosen.is_dir():
        return chosen
    folder = Path(bpy.path.abspath(directory)) if directory else chosen.parent if chosen else None
    return folder if folder is not None and folder.is_dir() else None


def beside(source: Path) -> Path:
    """The output folder where none was chosen."""
    return source.with_name(source.stem + OUTPUT_SUFFIX)


def register() -> None:
    bpy.utils.register_class(LIFEMASK_OT_batch)


def unregister() -> None:
    bpy.utils.unregister_class(LIFEMASK_OT_batch)
