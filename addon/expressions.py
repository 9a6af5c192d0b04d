"""The face of a head set by hand: mirrored, reset, neutral, or as one of its photographs shows it.

Values go to the shape keys themselves. Keys that the person removed are skipped, keys that follow a driver are left to
it, and where Blender's automatic keyframing is on, what is changed here is keyframed as a moved slider would be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import bpy

from . import arkit_regions

LEFT_TO_RIGHT, RIGHT_TO_LEFT, SWAP = "LEFT_TO_RIGHT", "RIGHT_TO_LEFT", "SWAP"


def blocks_of(head: bpy.types.Object) -> Mapping[str, bpy.types.ShapeKey]:
    """The shape keys of a head by name; empty where it has none."""
    keys = head.data.shape_keys
    return keys.key_blocks if keys else {}


def mirror(head: bpy.types.Object, region: str, direction: str) -> list[str]:
    """Copy one side of a region ("all" for the face) to the other, or swap the sides. Returns the keys that changed.

    Left and right are the person's own. A key whose opposite is missing stays as it is. What moves in the middle of the
    face (jaw and mouth sideways) has no side to copy: it changes its direction in a swap, and is left alone otherwise.
    """
    blocks = blocks_of(head)
    source = {LEFT_TO_RIGHT: "Left", RIGHT_TO_LEFT: "Right", SWAP: ("Left", "Right")}[direction]
    sided = [key for key in arkit_regions.keys_of(region) if len(arkit_regions.SLIDER_OF_KEY[key].keys) == 2]
    if direction != SWAP:
        sided = [key for key in sided if not arkit_regions.SLIDER_OF_KEY[key].is_direction]
    values = {
        arkit_regions.opposite(key): blocks[key].value
        for key in sided
        if key.endswith(source) and key in blocks and arkit_regions.opposite(key) in blocks
    }
    return change(head, values)


def reset(head: bpy.types.Object, region: str) -> list[str]:
    """Set the keys of a region ("all" for the face) to 0. Returns the keys that changed."""
    return change(head, dict.fromkeys(arkit_regions.keys_of(region), 0.0))


def set_neutral(head: bpy.types.Object) -> list[str]:
    """Set every key that no driver moves to 0, those of other add-ons included. Returns the keys that changed."""
    return show(head, {})


def show(head: bpy.types.Object, values: Mapping[str, float]) -> list[str]:
    """Give the head exactly these values: keys that are not named go to 0. Returns the keys that changed."""
    free = [block.name for block in list(blocks_of(head).values())[1:]]
    return change(head, {name: values.get(name, 0.0) for name in free})


def toggle(head: bpy.types.Object, names: Iterable[str]) -> list[str]:
    """Set keys to 1 where all are 0, else all to 0. Returns the keys that changed."""
    blocks = blocks_of(head)
    there = [name for name in names if name in blocks]
    value = 0.0 if any(blocks[name].value for name in there) else 1.0
    return change(head, dict.fromkeys(there, value))


def change(head: bpy.types.Object, values: Mapping[str, float]) -> list[str]:
    """Set the keys that are there and not driven. Returns the names of those whose value changed."""
    from . import shape_keys

    blocks, driven = blocks_of(head), shape_keys.driven_keys(head)
    changed = []
    for name, value in values.items():
        if name in blocks and name not in driven and abs(blocks[name].value - value) > 1e-6:
            blocks[name].value = value
            changed.append(name)
    if bpy.context.scene.tool_settings.use_keyframe_insert_auto:
        for name in changed:
            blocks[name].keyframe_insert("value")
    return changed
