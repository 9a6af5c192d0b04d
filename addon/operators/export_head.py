"""File > Export > Lifemask Head, and the Export button: a head into a file for another program."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy_extras.io_utils import ExportHelper

from .. import paragraphs
from ..export_presets import PRESETS, ExportOptions, ExportOptionsError
from ..head_record import record_of

KEYS = (
    ("all", "All", "Every shape key"),
    ("used", "Used", "Those that the present expression, a photograph or the animation uses"),
    ("none", "None", "Only the neutral face"),
)
PARTS = (
    ("joined", "Joined", "One object"),
    ("separate", "Separate", "One object for each part, each with the shape keys that move it"),
)
PICTURE_SIZES = (
    ("0", "As It Is", "The size the head has"),
    *((str(size), str(size), "") for size in (4096, 2048, 1024, 512, 256)),
)


class LIFEMASK_OT_export_head(bpy.types.Operator, ExportHelper):
    """Write the head to a file for another program, with a note on its units, keys and licence beside it"""

    bl_idname = "lifemask.export_head"
    bl_label = "Export Head"
    bl_options = {"REGISTER", "PRESET"}

    filename_ext = ".fbx"
    filter_glob: bpy.props.StringProperty(
        default=";".join(sorted({f"*{preset.suffix}" for preset in PRESETS.values()})), options={"HIDDEN"}
    )
    preset: bpy.props.EnumProperty(
        name="For",
        description="The program that the file is for",
        items=[(preset.name, preset.label, preset.description) for preset in PRESETS.values()],
        default="fbx",
    )
    keys: bpy.props.EnumProperty(
        name="Shape Keys",
        description="Which shape keys the file holds",
        items=KEYS,
    )
    parts: bpy.props.EnumProperty(
        name="Parts",
        description="Whether skin, eyes, teeth, tongue and lashes are one object",
        items=PARTS,
    )
    texture_size: bpy.props.EnumProperty(
        name="Texture Size",
        description="Longest side of the pictures in the file, in pixels. Pictures are never enlarged",
        items=PICTURE_SIZES,
    )
    displacement: bpy.props.EnumProperty(
        name="Displacement",
        description="Whether displacement is in the vertices of the file",
        items=[
            ("off", "Leave Out", "The mesh as it is"),
            ("applied", "Apply", "Subdivision and displacement are applied to a copy, in every shape key"),
        ],
    )
    head: bpy.props.StringProperty(
        name="Head", description="Name of the head; the active one where it is empty", options={"HIDDEN", "SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context):
        return poll_head(cls, context)

    def invoke(self, context, event):
        head = chosen_head(context, self.head)
        if not self.filepath and head is not None:
            folder = Path(bpy.data.filepath).parent if bpy.data.filepath else Path.home()
            self.filepath = str(folder / (bpy.path.clean_name(head.name) + PRESETS[self.preset].suffix))
        return super().invoke(context, event)

    def check(self, context):
        """Let the file's ending follow the preset while the file browser is open."""
        wanted = with_suffix(self.filepath, PRESETS[self.preset].suffix)
        changed = wanted != self.filepath
        self.filepath = wanted
        return changed

    def draw(self, context):
        from .. import exporting

        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        preset = PRESETS[self.preset]
        layout.prop(self, "preset")
        reason = exporting.cannot_write(preset.format)
        width = paragraphs.width_of(context)
        paragraphs.draw(layout, reason or preset.description, width, icon="ERROR" if reason else "INFO")
        row = layout.row()
        row.active = preset.can_hold_keys
        row.prop(self, "keys")
        layout.prop(self, "parts")
        layout.prop(self, "texture_size")
        head = chosen_head(context, self.head)
        if head is not None and exporting.has_displacement(head):
            layout.prop(self, "displacement")

    def execute(self, context):
        from .. import exporting

        head = chosen_head(context, self.head)
        if head is None:
            self.report({"ERROR"}, f"There is no head called {self.head}." if self.head else "Select a head first.")
            return {"CANCELLED"}
        # A script that names only the file gets the plain preset of its ending.
        suffix = Path(self.filepath).suffix.lower()
        by_file = not self.properties.is_property_set("preset") and suffix != PRESETS[self.preset].suffix
        try:
            options = ExportOptions(
                preset="" if by_file else self.preset,
                keys=self.keys,
                parts=self.parts,
                texture_size=int(self.texture_size),
                displacement=self.displacement,
            )
            report = exporting.export_head(head, Path(bpy.path.abspath(self.filepath)), options)
        except (exporting.ExportError, ExportOptionsError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        for warning in report.warnings:
            self.report({"WARNING"}, warning)
        self.report({"INFO"}, f"Wrote {report.files[0].name} with {len(report.keys)} shape keys")
        return {"FINISHED"}


def poll_head(operator: type[bpy.types.Operator], context: bpy.types.Context) -> bool:
    """Whether there is a head in the scene; where not, the button says so."""
    if any(is_head(item) for item in context.scene.objects):
        return True
    operator.poll_message_set("There is no head in this scene")
    return False


def is_head(item: bpy.types.Object) -> bool:
    """Whether an object is a head that Lifemask built."""
    return item.type == "MESH" and (record_of(item) is not None or "lifemask_face_model" in item)


def chosen_head(context: bpy.types.Context, name: str = "") -> bpy.types.Object | None:
    """The head that is meant: the one of that name, the active one, that of the active camera, the only one there."""
    if name:
        named = bpy.data.objects.get(name)
        return named if named is not None and is_head(named) else None
    active = context.view_layer.objects.active
    for item in (active, active.parent if active else None):
        if item is not None and is_head(item):
            return item
    heads = [item for item in context.scene.objects if is_head(item)]
    return heads[0] if len(heads) == 1 else None


def with_suffix(path: str, suffix: str) -> str:
    """A path whose ending is that of the preset, in the place of another preset's."""
    for preset in PRESETS.values():
        if path.lower().endswith(preset.suffix):
            return path[: -len(preset.suffix)] + suffix
    return path if path.endswith(("/", "\\")) or not path else path + suffix


def draw_menu_entry(menu, context):
    """The line in File > Export."""
    menu.layout.operator(LIFEMASK_OT_export_head.bl_idname, text="Lifemask Head (.fbx, .glb, .obj, .usd, .blend)")


def register() -> None:
    bpy.utils.register_class(LIFEMASK_OT_export_head)
    bpy.types.TOPBAR_MT_file_export.append(draw_menu_entry)


def unregister() -> None:
    bpy.types.TOPBAR_MT_file_export.remove(draw_menu_entry)
    bpy.utils.unregister_class(LIFEMASK_OT_export_head)
