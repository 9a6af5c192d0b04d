"""The Blender side of Lifemask. Everything that touches bpy is here; nothing here needs torch."""

from __future__ import annotations

MODULES = (
    "preferences",
    "properties",
    "thumbnails",
    "photographed_faces",
    "operators.import_result",
    "operators.photographs",
    "operators.pick_face",
    "operators.drop",
    "operators.build_result",
    "operators.reconstruct",
    "operators.update_head",
    "operators.set_up",
    "operators.face_models",
    "operators.batch",
    "operators.job",
    "operators.view",
    "operators.sliders",
    "operators.skin_detail",
    "operators.head_menu",
    "operators.export_head",
    "operators.save_as_asset",
    "panel",
    "command_line",
    "ticking",
)
"""What is registered, in this order; each module has `register()` and `unregister()`. A module that others read when
they register stands before them. Enabling has to stay under 0.1 s: what is heavy is imported inside functions."""


def register() -> None:
    """Called by Blender when the extension is enabled. Whatever fails, nothing stays half registered."""
    done = []
    try:
        for module in _modules():
            module.register()
            done.append(module)
    except BaseException:
        for module in reversed(done):
            module.unregister()
        raise


def unregister() -> None:
    """Called by Blender when the extension is disabled, and when Blender ends."""
    for module in reversed(_modules()):
        module.unregister()


def _modules() -> list:
    import importlib

    return [importlib.import_module(f".{name}", __package__) for name in MODULES]
