"""The Blender side of Lifemask. Everything that touches bpy is here; nothing here needs torch."""

from __future__ import annotations


def register() -> None:
    """Called by Blender when the extension is enabled."""
    import bpy

    from .operators import import_result

    bpy.utils.register_class(import_result.LIFEMASK_OT_import_result)
    bpy.types.TOPBAR_MT_file_import.append(import_result.draw_menu_entry)


def unregister() -> None:
    """Called by Blender when the extension is disabled."""
    import bpy

    from .operators import import_result

    bpy.types.TOPBAR_MT_file_import.remove(import_result.draw_menu_entry)
    bpy.utils.unregister_class(import_result.LIFEMASK_OT_import_result)
