"""The button Save as Asset: a head for Blender's Asset Browser."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..export_target import ExportError
from .export_head import chosen_head, poll_head

THIS_FILE = "this-file"
_items: list[tuple[str, str, str]] = []  # Blender needs someone to keep the strings of a dynamic list


def libraries(_operator, context):
    """Where an asset can go: this file, or a folder that the preferences name as an asset library."""
    _items[:] = [(THIS_FILE, "This File", "Mark the head as an asset of this Blender file")]
    for library in context.preferences.filepaths.asset_libraries if context else ():
        if library.path:
            _items.append((library.path, library.name, f"Write a copy of the head to {library.path}"))
    return _items


class LIFEMASK_OT_save_as_asset(bpy.types.Operator):
    """Put the head into the Asset Browser: in this file, or as a copy in one of your asset libraries"""

    bl_idname = "lifemask.save_as_asset"
    bl_label = "Save as Asset"
    bl_options = {"REGISTER", "UNDO"}

    library: bpy.props.EnumProperty(name="Library", description="Where the asset goes", items=libraries)
    directory: bpy.props.StringProperty(
        name="Folder",
        description="Folder of an asset library, instead of one of the list",
        subtype="DIR_PATH",
        options={"HIDDEN", "SKIP_SAVE"},
    )
    asset_name: bpy.props.StringProperty(name="Name", options={"SKIP_SAVE"})
    description: bpy.props.StringProperty(name="Description", options={"SKIP_SAVE"})
    author: bpy.props.StringProperty(name="Author")
    licence: bpy.props.StringProperty(name="Licence", options={"SKIP_SAVE"})
    head: bpy.props.StringProperty(name="Head", options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context):
        return poll_head(cls, context)

    def invoke(self, context, event):
        from .. import head_asset

        head = chosen_head(context, self.head)
        if head is not None:
            details = head_asset.details_of(head)
            self.asset_name, self.description, self.licence = details.name, details.description, details.licence
        return context.window_manager.invoke_props_dialog(self, width=400)

    def draw(self, context):
        layout = self.layout
        layout.use_property_split = True
        for name in ("library", "asset_name", "description", "author", "licence"):
            row = layout.row()
            row.active = name != "asset_name" or self.library != THIS_FILE
            row.prop(self, name)

    def execute(self, context):
        from .. import head_asset

        head = chosen_head(context, self.head)
        if head is None:
            self.report({"ERROR"}, f"There is no head called {self.head}." if self.head else "Select a head first.")
            return {"CANCELLED"}
        plain = head_asset.details_of(head)
        details = head_asset.AssetDetails(
            name=self.asset_name or plain.name,
            description=self.description or plain.description,
            licence=self.licence or plain.licence,
            author=self.author,
        )
        folder = self.directory or ("" if self.library == THIS_FILE else self.library)
        try:
            if not folder:
                has_preview = head_asset.mark_in_file(head, details)
                self.report({"INFO"}, f"{head.name} is an asset of this file now")
            else:
                path, has_preview = head_asset.save_to_library(head, Path(bpy.path.abspath(folder)), details)
                self.report({"INFO"}, f"Wrote {path.name} to the asset library")
        except ExportError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if not has_preview:
            self.report({"WARNING"}, "This Blender could not render a preview of the head")
        return {"FINISHED"}


def register() -> None:
    bpy.utils.register_class(LIFEMASK_OT_save_as_asset)


def unregister() -> None:
    bpy.utils.unregister_class(LIFEMASK_OT_save_as_asset)
