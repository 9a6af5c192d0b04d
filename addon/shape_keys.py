"""Shape keys of a head: built from offsets, valued, driven, and animated over the photographs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import bpy

if TYPE_CHECKING:
    import numpy as np

PHOTOGRAPHS_ACTION = "lifemask_photographs"
"""ID property of the keys: the action of the photographs, whether it is assigned or not."""

NEUTRAL_FRAME = 0
FIRST_PHOTOGRAPH_FRAME = 1

# Formulas come from a file: only arithmetic in w may become a driver.
ARITHMETIC_IN_W = re.compile(r"[0-9w+\-*/(). ]+")


def add_shape_keys(
    head: bpy.types.Object, basis: np.ndarray, names: Sequence[str], offsets: np.ndarray
) -> list[bpy.types.ShapeKey]:
    """Give a mesh object the key `Basis` and one key a name, all with the value 0.

    Args:
        head: an object with a mesh of V vertices and no shape keys.
        basis: (V, 3) float32 metres, Blender space.
        names: K names.
        offsets: (K, V, 3) float32 metres, Blender space, from the basis at value 1.
    """
    head.shape_key_add(name="Basis", from_mix=False)
    blocks = [add_key(head, name, basis + offset) for name, offset in zip(names, offsets, strict=True)]
    keys = head.data.shape_keys
    keys.name = head.data.name
    return blocks


def add_key(head: bpy.types.Object, name: str, points: np.ndarray) -> bpy.types.ShapeKey:
    """One more key with the value 0. `points` (V, 3) are metres in Blender space at value 1."""
    import numpy as np

    block = head.shape_key_add(name=name, from_mix=False)
    # Blender 5.0 makes new keys with the value 1, earlier ones with 0.
    block.value = 0.0
    block.slider_min, block.slider_max = 0.0, 1.0
    block.points.foreach_set("co", np.ascontiguousarray(points, dtype=np.float32).ravel())
    return block


def set_values(head: bpy.types.Object, values: Mapping[str, float]) -> None:
    """Set every key of the head: those named to their value, the rest to 0. Driven keys keep their driver."""
    for block in head.data.shape_keys.key_blocks[1:]:
        block.value = values.get(block.name, 0.0)


def values_of(head: bpy.types.Object) -> dict[str, float]:
    """The present value of every key but the basis."""
    return {block.name: block.value for block in head.data.shape_keys.key_blocks[1:]}


def drive(head: bpy.types.Object, name: str, driver_name: str, formula: str) -> None:
    """Let the key `name` follow `formula`, in which w is the value of the key `driver_name`.

    Raises ValueError for a formula that is more than arithmetic in w.
    """
    if not ARITHMETIC_IN_W.fullmatch(formula):
        raise ValueError(f"The formula {formula!r} of {name} is not arithmetic in w.")
    keys = head.data.shape_keys
    driver = keys.key_blocks[name].driver_add("value").driver
    driver.type = "SCRIPTED"
    variable = driver.variables.new()
    variable.name = "w"
    variable.type = "SINGLE_PROP"
    target = variable.targets[0]
    target.id_type = "KEY"
    target.id = keys
    target.data_path = f'key_blocks["{driver_name}"].value'
    driver.expression = formula


def animate_photographs(
    head: bpy.types.Object, names: Sequence[str], weights: np.ndarray, action_name: str
) -> bpy.types.Action:
    """Store the neutral at frame 0 and photograph i at frame 1 + i in an action of the head's keys.

    Args:
        head: an object whose keys hold all of `names`.
        names: K keys to animate (driven keys are left out by the caller).
        weights: (photographs, K) values.
        action_name: what to call the action.
    """
    import numpy as np

    keys = head.data.shape_keys
    action = bpy.data.actions.new(action_name)
    keys[PHOTOGRAPHS_ACTION] = action
    curves = _channels(action, keys)
    count = len(weights) + 1
    coordinates = np.empty((count, 2), dtype=np.float32)
    coordinates[:, 0] = NEUTRAL_FRAME + np.arange(count)
    coordinates[0, 1] = 0.0
    linear = np.full(count, _linear_interpolation(), dtype=np.int32)
    for column, name in enumerate(names):
        coordinates[1:, 1] = weights[:, column]
        curve = curves.new(f'key_blocks["{name}"].value')
        curve.keyframe_points.add(count)
        curve.keyframe_points.foreach_set("co", coordinates.ravel())
        curve.keyframe_points.foreach_set("interpolation", linear)
        curve.update()
    return action


def set_aside(head: bpy.types.Object) -> None:
    """Keep the action of the photographs with the keys, but not assigned: sliders then stay where they are moved to."""
    keys = head.data.shape_keys
    action = keys.get(PHOTOGRAPHS_ACTION) if keys else None
    if action is not None and keys.animation_data.action == action:
        action.use_fake_user = True
        keys.animation_data.action = None


def replace_photographs(head: bpy.types.Object, names: Sequence[str], weights: np.ndarray) -> None:
    """Put a new action of the photographs in the place of the old one, assigned or set aside as that was.

    An action that the person assigned instead stays assigned. Arguments as of `animate_photographs`.
    """
    keys = head.data.shape_keys
    animation = keys.animation_data_create()
    old = keys.get(PHOTOGRAPHS_ACTION)
    assigned, slot = animation.action, getattr(animation, "action_slot", None)
    new = animate_photographs(head, names, weights, f"{head.name} photographs")
    if old is None or assigned != old:
        set_aside(head)
        animation.action = assigned
        if assigned is not None and slot is not None:
            animation.action_slot = slot
    if old is not None and old.users - old.use_fake_user <= 0:
        name = old.name
        bpy.data.actions.remove(old)
        new.name = name


def copy_animation(source: bpy.types.Object, target: bpy.types.Object) -> None:
    """Give the keys of `target` the drivers and the action that those of `source` have, where it has those keys."""
    keys, new = source.data.shape_keys, target.data.shape_keys
    if not keys or not new:
        return
    for name, (followed, formula) in driven_keys(source).items():
        if name in new.key_blocks and followed in new.key_blocks:
            drive(target, name, followed, formula)
    if PHOTOGRAPHS_ACTION in keys:
        new[PHOTOGRAPHS_ACTION] = keys[PHOTOGRAPHS_ACTION]
    if keys.animation_data and keys.animation_data.action:
        animation = new.animation_data_create()
        animation.action = keys.animation_data.action
        if getattr(keys.animation_data, "action_slot", None) is not None:
            animation.action_slot = keys.animation_data.action_slot


def driven_keys(head: bpy.types.Object) -> dict[str, tuple[str, str]]:
    """The keys that follow another one: name -> (key it follows, formula in w)."""
    keys = head.data.shape_keys
    if not keys or not keys.animation_data:
        return {}
    names = _name_of_path(keys)
    driven = {}
    for curve in keys.animation_data.drivers:
        if curve.data_path in names and curve.driver.variables:
            followed = names.get(curve.driver.variables[0].targets[0].data_path, "")
            driven[names[curve.data_path]] = (followed, curve.driver.expression)
    return driven


def photograph_values(head: bpy.types.Object) -> list[dict[str, float]]:
    """The key values of each photograph as the head's action holds them; values of 0 are left out."""
    keys = head.data.shape_keys
    animation = keys.animation_data if keys else None
    if not animation or not animation.action:
        return []
    names = _name_of_path(keys)
    curves = [curve for curve in _curves(animation) if curve.data_path in names]
    last = int(max((curve.range()[1] for curve in curves), default=NEUTRAL_FRAME))
    photographs = []
    for frame in range(FIRST_PHOTOGRAPH_FRAME, last + 1):
        values = {names[curve.data_path]: round(curve.evaluate(frame), 6) for curve in curves}
        photographs.append({name: value for name, value in values.items() if value})
    return photographs


def _name_of_path(keys: bpy.types.Key) -> dict[str, str]:
    return {f'key_blocks["{block.name}"].value': block.name for block in keys.key_blocks}


def _curves(animation: bpy.types.AnimData) -> Iterable[bpy.types.FCurve]:
    action = animation.action
    if not hasattr(action, "slots"):  # Blender 4.2 and 4.3
        return action.fcurves
    bags = (strip.channelbag(animation.action_slot) for layer in action.layers for strip in layer.strips)
    return [curve for bag in bags if bag for curve in bag.fcurves]


def _channels(action: bpy.types.Action, keys: bpy.types.Key):
    """The collection of an action's curves for these keys, with the action assigned to them."""
    animation = keys.animation_data_create()
    if not hasattr(action, "slots"):  # Blender 4.2 and 4.3
        animation.action = action
        return action.fcurves
    slot = action.slots.new(id_type="KEY", name=keys.name)
    strip = action.layers.new("Photographs").strips.new(type="KEYFRAME")
    animation.action = action
    animation.action_slot = slot
    return strip.channelbag(slot, ensure=True).fcurves


def _linear_interpolation() -> int:
    return bpy.types.Keyframe.bl_rna.properties["interpolation"].enum_items["LINEAR"].value
