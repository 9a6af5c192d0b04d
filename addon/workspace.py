"""What a person meets who opens a .blend of one head: the photograph behind it, light, a sensible timeline."""

from __future__ import annotations

import bpy

from . import portrait, shape_keys
from .head_builder import Head, show_photograph


def prepare(scene: bpy.types.Scene, head: Head) -> None:
    """Light the scene, select the head, set the timeline, and look through the first photograph's camera."""
    low, high = portrait.bounds(head.object)
    studio = bpy.data.collections.new("Studio")
    scene.collection.children.link(studio)
    portrait.add_studio(scene, (low + high) / 2, studio)
    scene.unit_settings.system = "METRIC"
    scene.render.engine = "CYCLES"
    scene.frame_start = shape_keys.NEUTRAL_FRAME
    scene.frame_end = max(shape_keys.FIRST_PHOTOGRAPH_FRAME + len(head.cameras) - 1, shape_keys.NEUTRAL_FRAME)
    layer = scene.view_layers[0]
    layer.objects.active = head.object
    head.object.select_set(True, view_layer=layer)
    if head.cameras:
        show_photograph(scene, head)
    for space in _viewports():
        space.shading.type = "MATERIAL"
        space.clip_start = 0.01
        space.region_3d.view_location = (low + high) / 2
        space.region_3d.view_distance = 0.8
        if head.cameras:
            space.region_3d.view_perspective = "CAMERA"


def _viewports() -> list[bpy.types.SpaceView3D]:
    return [
        space
        for screen in bpy.data.screens
        for area in screen.areas
        for space in area.spaces
        if space.type == "VIEW_3D" and space.region_3d
    ]
