"""What is set once for this computer: where Lifemask keeps its gigabytes, the device, how long it waits, its models."""

from __future__ import annotations

from pathlib import Path

import bpy

from .session import Settings, session

PACKAGE = __package__.rpartition(".")[0]
"""The extension's own, such as bl_ext.user_default.lifemask."""

DEVICES = (
    ("auto", "Automatic", "A graphics card where there is one that fits, else the processor"),
    ("cuda", "NVIDIA (CUDA)", "Needs the driver of an NVIDIA card; a larger download"),
    ("mps", "Apple GPU", "The graphics of a Mac with Apple silicon"),
    ("cpu", "Processor", "Works everywhere; the smallest download"),
)


def _configure(preferences, context) -> None:
    session.configure(settings_of(preferences))


class LIFEMASK_preferences(bpy.types.AddonPreferences):
    """Settings of this computer"""

    bl_idname = PACKAGE

    folder: bpy.props.StringProperty(
        name="Folder",
        description=(
            "Where the packages, logs and results go: some gigabytes. It lies outside the extension, so that an update "
            "does not delete it. Empty: the usual folder of this system"
        ),
        subtype="DIR_PATH",
        update=_configure,
    )
    device: bpy.props.EnumProperty(
        name="Device", description="What computes the heads", items=DEVICES, default="auto", update=_configure
    )
    existing_environment: bpy.props.StringProperty(
        name="Existing Environment",
        description="A Python environment that has the packages already. It is checked and used as it is",
        subtype="DIR_PATH",
        update=_configure,
    )
    wheel_folder: bpy.props.StringProperty(
        name="Folder of Packages",
        description="Install from the wheels in this folder, without a network",
        subtype="DIR_PATH",
        update=_configure,
    )
    python: bpy.props.StringProperty(
        name="Python",
        description="The Python to make the environment with. Empty: one that fits is looked for",
        subtype="FILE_PATH",
        update=_configure,
    )
    face_landmarker: bpy.props.StringProperty(
        name="Face Landmarker",
        description="The file face_landmarker.task, which newer Pythons need. Empty: the one in the folder above",
        subtype="FILE_PATH",
        update=_configure,
    )
    idle_minutes: bpy.props.FloatProperty(
        name="Free Memory After",
        description="Minutes without work after which the process that computes heads ends. 0: never",
        default=5.0,
        min=0.0,
        soft_max=60.0,
        precision=0,
        update=_configure,
    )
    for_sale: bpy.props.BoolProperty(
        name="My Work Is Sold",
        description=(
            "Use nothing whose licence forbids that: a face model, a method or a detector whose results may not be "
            "sold is refused before any work"
        ),
        default=False,
        update=_configure,
    )
    face_model_details: bpy.props.StringProperty(
        description="The face model whose details are shown", options={"HIDDEN", "SKIP_SAVE"}
    )

    def draw(self, context):
        from .panels import face_models

        column = self.layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        for name in ("folder", "device", "existing_environment", "wheel_folder", "python", "face_landmarker"):
            column.prop(self, name)
        column.prop(self, "idle_minutes")
        column.prop(self, "for_sale")
        face_models.draw(self.layout, context, self.face_model_details)


def preferences(context: bpy.types.Context | None = None) -> LIFEMASK_preferences:
    """The settings of this computer. Raises KeyError while the add-on is not enabled."""
    return (context or bpy.context).preferences.addons[PACKAGE].preferences


def settings_of(chosen: LIFEMASK_preferences) -> Settings:
    """The same for the session."""
    return Settings(
        root=path_of(chosen.folder),
        device=chosen.device,
        existing=path_of(chosen.existing_environment),
        face_landmarker=path_of(chosen.face_landmarker),
        for_sale=chosen.for_sale,
        idle_minutes=chosen.idle_minutes,
        blender=Path(bpy.app.binary_path) if bpy.app.binary_path else None,
    )


def path_of(text: str) -> Path | None:
    """A path as a file browser or a person writes it; None for an empty one.

    Blender's "//" (beside the open file) has no meaning for a whole computer and is not resolved: while add-ons are
    enabled at the start, Blender does not let them ask which file is open.
    """
    return Path(text).expanduser() if text else None


def register() -> None:
    bpy.utils.register_class(LIFEMASK_preferences)


def unregister() -> None:
    bpy.utils.unregister_class(LIFEMASK_preferences)
