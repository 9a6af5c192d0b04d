"""Buttons of the preferences: add, download and remove face models, and read about them."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy_extras.io_utils import ImportHelper

from .. import face_models, paragraphs
from ..panels.parts import megabytes
from ..session import session
from .reconstruct import can_start, ended

DIALOGUE_WIDTH = 440
MODEL_FILES = "*.pkl;*.npz;*.mat;*.bin;*.obj;*.zip;*.task"
SECONDS_BEFORE_ASKING = 0.1


def ask_soon() -> None:
    """Let the backend be asked what can be installed, where that is not known yet. Drawing must not start it itself."""
    is_known = session.assets is not None or session.is_listing or session.asset_failure is not None
    if not is_known and session.is_set_up and not bpy.app.background and not bpy.app.timers.is_registered(_ask):
        bpy.app.timers.register(_ask, first_interval=SECONDS_BEFORE_ASKING)


def _ask() -> None:
    session.list_assets()


def known(name: str) -> face_models.Asset:
    """What is known of an asset; the bare name where that is nothing."""
    found = face_models.named(name, session.assets or ()) or face_models.named(name, session.face_models)
    return found or face_models.Asset(name, name)


class LIFEMASK_OT_add_face_model(bpy.types.Operator, ImportHelper):
    """Add a face model from the file, or the folder, that its owner gave you: FLAME, BFM 2009, ICT-FaceKit, GNM"""

    bl_idname = "lifemask.add_face_model"
    bl_label = "Add Face Model"
    bl_options = {"REGISTER"}

    filter_glob: bpy.props.StringProperty(default=MODEL_FILES, options={"HIDDEN", "SKIP_SAVE"})
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context):
        return can_start(cls)

    def draw(self, context):
        column = self.layout.column()
        text = (
            "Choose the file of a face model, or go into its folder and choose nothing.\n"
            "It is read, checked and prepared once, which takes a while. The file itself stays where it is."
        )
        paragraphs.draw(column, text, paragraphs.width_of(context))

    def execute(self, context):
        source = source_of(self.filepath, self.directory)
        if source is None:
            self.report({"ERROR"}, "Choose the file of a face model, or its folder.")
            return {"CANCELLED"}
        session.start_asset("add", source.name, {"path": str(source)})
        return ended(self)


class LIFEMASK_OT_download_face_model(bpy.types.Operator):
    """Download this, after a question; only what its licence lets anyone have"""

    bl_idname = "lifemask.download_face_model"
    bl_label = "Download"
    bl_options = {"REGISTER"}

    asset: bpy.props.StringProperty(name="Name", description="Of the face model", options={"SKIP_SAVE"})
    agreed: bpy.props.BoolProperty(
        name="I Agree",
        description="To the licence. The dialogue's own button says so; scripts have to",
        default=False,
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context):
        if not bpy.app.online_access:
            cls.poll_message_set("Blender may not use the network. Allow online access in Preferences > System.")
            return False
        return can_start(cls)

    def invoke(self, context, event):
        self.agreed = True  # with the dialogue's button: without it nothing is executed
        return context.window_manager.invoke_props_dialog(
            self, width=DIALOGUE_WIDTH, title=f"Download {known(self.asset).label}?", confirm_text="Agree and Download"
        )

    def draw(self, context):
        asset, width = known(self.asset), DIALOGUE_WIDTH - paragraphs.MARGIN_POINTS
        column = self.layout.column()
        sold = "may be sold" if asset.commercial else "may not be sold"
        paragraphs.draw(column, asset.licence_in_words, width, "INFO")
        paragraphs.draw(column, f"What is made with it {sold}.", width, "BLANK1")
        column.separator()
        size = megabytes(asset.size) if asset.size else "not known"
        for line in (f"Licence: {asset.licence or 'not named'}", f"Size: {size}", f"From: {asset.source}"):
            paragraphs.draw(column, line, width, "BLANK1")

    def execute(self, context):
        asset = known(self.asset)
        if not self.agreed:
            self.report({"ERROR"}, f"{asset.label} is downloaded when you agree to its licence: agreed=True.")
            return {"CANCELLED"}
        session.start_asset("fetch", asset.label, {"name": asset.name, "agreed": True})
        return ended(self)


class LIFEMASK_OT_remove_face_model(bpy.types.Operator):
    """Delete this from Lifemask's folder. Heads that were made with it stay as they are"""

    bl_idname = "lifemask.remove_face_model"
    bl_label = "Remove"
    bl_options = {"REGISTER"}

    asset: bpy.props.StringProperty(name="Name", description="Of the face model", options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context):
        return can_start(cls)

    def invoke(self, context, event):
        return context.window_manager.invoke_confirm(
            self,
            event,
            title=f"Remove {known(self.asset).label}?",
            message="It is deleted from Lifemask's folder. Heads that were made with it stay as they are.",
            confirm_text="Remove",
            icon="WARNING",
        )

    def execute(self, context):
        asset = known(self.asset)
        session.start_asset("remove", asset.label, {"name": asset.name})
        return ended(self)


class LIFEMASK_OT_refresh_face_models(bpy.types.Operator):
    """Look again what is installed and what can be"""

    bl_idname = "lifemask.refresh_face_models"
    bl_label = "Refresh"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context):
        return can_start(cls)

    def execute(self, context):
        session.list_assets()
        if bpy.app.background:
            session.run()
        if session.asset_failure is not None:
            self.report({"ERROR"}, session.asset_failure.sentence)
            return {"CANCELLED"}
        return {"FINISHED"}


class LIFEMASK_OT_open_owners_page(bpy.types.Operator):
    """Open the page where its owner gives it out. What you get there is added with Add"""

    bl_idname = "lifemask.open_owners_page"
    bl_label = "Owner's Page"
    bl_options = {"INTERNAL"}

    asset: bpy.props.StringProperty(name="Name", options={"SKIP_SAVE"})

    @classmethod
    def description(cls, context, properties):
        return f"{cls.__doc__}:\n{known(properties.asset).address}"

    def execute(self, context):
        address = known(self.asset).address
        if not address:
            self.report({"ERROR"}, f"No page of {known(self.asset).label} is known.")
            return {"CANCELLED"}
        if bpy.app.background:
            self.report({"INFO"}, address)
            return {"FINISHED"}
        bpy.ops.wm.url_open(url=address)
        return {"FINISHED"}


class LIFEMASK_OT_face_model_details(bpy.types.Operator):
    """Show licence, source and checksum, or put them away"""

    bl_idname = "lifemask.face_model_details"
    bl_label = "Details"
    bl_options = {"INTERNAL"}

    asset: bpy.props.StringProperty(name="Name", options={"SKIP_SAVE"})

    @classmethod
    def description(cls, context, properties):
        from ..panels.face_models import details_of

        return "\n".join([cls.__doc__, *details_of(known(properties.asset))])

    def execute(self, context):
        from .. import preferences

        chosen = preferences.preferences(context)
        chosen.face_model_details = "" if chosen.face_model_details == self.asset else self.asset
        return {"FINISHED"}


def source_of(filepath: str, directory: str) -> Path | None:
    """What was chosen: a file, else the folder that the file browser showed; None where there is neither."""
    chosen = Path(bpy.path.abspath(filepath)) if filepath else None
    if chosen is not None and chosen.exists():
        return chosen
    folder = Path(bpy.path.abspath(directory)) if directory else None
    return folder if folder is not None and folder.is_dir() and (chosen is None or chosen == folder) else None


CLASSES = (
    LIFEMASK_OT_add_face_model,
    LIFEMASK_OT_download_face_model,
    LIFEMASK_OT_remove_face_model,
    LIFEMASK_OT_refresh_face_models,
    LIFEMASK_OT_open_owners_page,
    LIFEMASK_OT_face_model_details,
)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    if bpy.app.timers.is_registered(_ask):
        bpy.app.timers.unregister(_ask)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
