"""The copy of a head that is written: in a scene of its own, with what the options ask for, gone afterwards.

What is in a file never depends on how the head is posed, hidden, parented or modified, and modifiers cannot make
Blender's exporters drop the shape keys, because the copy has none. The head itself is left as it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import bpy
import numpy as np
from mathutils import Matrix

from . import cameras, detail_baking, displacement, shape_keys
from .export_parts import drop_idle_keys, idle_keys, keep_faces, part_of_faces
from .export_pictures import Pictures
from .export_presets import ExportOptions, Preset
from .export_target import ExportError
from .head_record import values_of_photographs as recorded_values

SMALLEST_VALUE = 1e-4


@dataclass
class ExportCopy:
    """What is about to be written.

    Attributes:
        scene: holds the copy and nothing else.
        objects: the mesh objects.
        keys: object name -> names of its shape keys, without the basis.
        left_out: keys that follow another one and are not in the copy: name -> (key it follows, formula in w).
        pictures: the copies of its materials and pictures.
        parts: the parts that the head has, those that the preset leaves out included.
        skin_detail: where it is: "none", "material" (displacement that follows the keys), "normal map", "vertices".
    """

    scene: bpy.types.Scene
    objects: list[bpy.types.Object]
    pictures: Pictures
    keys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: dict[str, tuple[str, str]] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    skin_detail: str = "none"


@contextmanager
def copied(head: bpy.types.Object, preset: Preset, options: ExportOptions, pictures: Pictures) -> Iterator[ExportCopy]:
    """A copy of the head in a scene of its own, as the preset and the options have it.

    While it lasts the copy bears the head's name and the names of its mesh and materials, so that files hold those.
    Everything is as before when it ends, also when it ends with an exception.
    """
    if head.mode == "EDIT":
        head.update_from_editmode()
    made: list[bpy.types.ID] = pictures.made
    keys_before = set(bpy.data.shape_keys)
    scene = bpy.data.scenes.new(head.name)
    made.append(scene)
    with ExitStack() as names:
        try:
            copy = _bare_copy(head, scene, made, preset)
            kept, left_out = _choose_keys(head, copy, preset, options)
            detail = displacement.detail_of(head)
            applied = options.displacement == "applied" and has_displacement(head)
            if applied:
                detail_baking.apply_to_mesh(copy, scene, made, detail)
                if preset.as_it_stands:
                    shape_keys.copy_animation(head, copy)
            elif not preset.as_it_stands:
                copy.modifiers.clear()
            if preset.turn_degrees:
                copy.data.transform(Matrix.Rotation(math.radians(preset.turn_degrees), 4, "Z"), shape_keys=True)
            names_of_parts, part = part_of_faces(copy)
            parts = tuple(name for number, name in enumerate(names_of_parts) if (part == number).any())
            objects = _parts(head, copy, scene, made, preset, options)
            _rename_groups(objects, preset)
            pictures.keeps_displacement = preset.as_it_stands and not applied
            pictures.detail = None if preset.as_it_stands or applied else detail
            for item in objects:
                pictures.give_to(item)
                displacement.follow_head(item)
            if preset.as_it_stands:
                _copy_cameras(head, objects[0], scene, pictures)
            _borrow_names(names, head, objects, pictures)
            layer = scene.view_layers[0]
            layer.objects.active = objects[0]
            for item in objects:
                item.select_set(True, view_layer=layer)
            layer.update()
            keys = {item.name: tuple(name for name in kept if _has_key(item, name)) for item in objects}
            yield ExportCopy(scene, objects, pictures, keys, left_out, parts, _place_of_detail(pictures, detail))
        except displacement.DetailError as error:
            raise ExportError(str(error)) from error
        finally:
            _remove(made)
            # Blender counts a user too many of copied keys, so those that were cleared away are still there.
            bpy.data.batch_remove([keys for keys in bpy.data.shape_keys if keys not in keys_before])


@contextmanager
def shown(scene: bpy.types.Scene) -> Iterator[None]:
    """Let the window show a scene, because exporters take theirs from it; the window is as before afterwards.

    (Overriding the context's scene alone makes the glTF exporter crash Blender 4.5.)
    """
    window = bpy.context.window or bpy.context.window_manager.windows[0]
    before, layer = window.scene, window.view_layer.name
    active = window.view_layer.objects.active
    mode = active.mode if active else "OBJECT"
    views = [
        (space, space.camera, [(view, view.view_perspective) for view in _views(space)])
        for area in window.screen.areas
        for space in area.spaces
        if space.type == "VIEW_3D"
    ]
    window.scene = scene
    try:
        yield
    finally:
        window.scene = before
        window.view_layer = before.view_layers[layer]
        if active and active.mode != mode:
            with bpy.context.temp_override(window=window, scene=before, view_layer=before.view_layers[layer]):
                bpy.ops.object.mode_set(mode=mode)
        for space, camera, perspectives in views:
            # Blender leaves the camera view in a scene that has no camera.
            if space.camera != camera:
                space.camera = camera
            for view, perspective in perspectives:
                if view.view_perspective != perspective:
                    view.view_perspective = perspective


def has_displacement(head: bpy.types.Object) -> bool:
    """Whether there is a displacement that an export could apply to the copy."""
    modified = any(modifier.type in ("DISPLACE", "MULTIRES") and modifier.show_viewport for modifier in head.modifiers)
    return modified or displacement.detail_of(head) is not None


def _place_of_detail(pictures: Pictures, detail: displacement.Detail | None) -> str:
    if detail is None:
        return "none"
    if pictures.keeps_displacement:
        return "material"
    if pictures.detail is None:
        return "vertices"
    return "normal map" if pictures.has_normal_map else "none"


def values_of_photographs(head: bpy.types.Object) -> list[dict[str, float]]:
    """The key values of each photograph, from the head's record or, in a file without one, from its action."""
    return [dict(values) for values in recorded_values(head)] or shape_keys.photograph_values(head)


def used_keys(head: bpy.types.Object) -> set[str]:
    """The keys that the present pose, a photograph, or the assigned action uses."""
    values = [shape_keys.values_of(head) if head.data.shape_keys else {}]
    values += [*values_of_photographs(head), *shape_keys.photograph_values(head)]
    return {name for entry in values for name, value in entry.items() if abs(value) > SMALLEST_VALUE}


def _bare_copy(
    head: bpy.types.Object, scene: bpy.types.Scene, made: list[bpy.types.ID], preset: Preset
) -> bpy.types.Object:
    """The head's object and mesh once more, visible, in the scene; at the origin unless it is to stand as it is."""
    copy = head.copy()
    made.append(copy)
    copy.data = head.data.copy()
    made.append(copy.data)
    where = head.matrix_world.copy()
    copy.parent = None
    copy.matrix_parent_inverse.identity()
    copy.delta_location, copy.delta_rotation_euler = (0, 0, 0), (0, 0, 0)
    copy.delta_rotation_quaternion, copy.delta_scale = (1, 0, 0, 0), (1, 1, 1)
    copy.hide_viewport = copy.hide_render = copy.hide_select = False
    scene.collection.objects.link(copy)
    if preset.as_it_stands:
        copy.matrix_basis = where
        _drive_itself(head, copy)
        return copy
    copy.matrix_basis = Matrix.Identity(4)
    copy.animation_data_clear()
    copy.constraints.clear()
    for name in list(copy.keys()):  # where the photographs were on this machine is nobody's business
        del copy[name]
    return copy


def _drive_itself(head: bpy.types.Object, copy: bpy.types.Object) -> None:
    """Let the drivers of the copied keys read the copy's keys."""
    keys = copy.data.shape_keys
    for curve in keys.animation_data.drivers if keys and keys.animation_data else ():
        for variable in curve.driver.variables:
            for target in variable.targets:
                if target.id == head.data.shape_keys:
                    target.id = keys


def _choose_keys(
    head: bpy.types.Object, copy: bpy.types.Object, preset: Preset, options: ExportOptions
) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """Remove the keys that are not asked for. Returns the names that are left, and those that follow another key."""
    keys = copy.data.shape_keys
    if keys is None:
        return [], {}
    driven = shape_keys.driven_keys(head)
    wanted = options.keys_of(preset)
    if wanted == "used":
        used = used_keys(head)
    names = [block.name for block in keys.key_blocks[1:]]
    if wanted == "none":
        names = []
    elif wanted == "used":
        names = [name for name in names if name in used or driven.get(name, ("",))[0] in used]
    left_out = {} if preset.as_it_stands else {name: rule for name, rule in driven.items() if wanted != "none"}
    names = [name for name in names if name not in left_out]
    if not preset.as_it_stands:
        keys.animation_data_clear()
        keys.use_relative = True
        copy.show_only_shape_key = False
        copy.active_shape_key_index = 0
        for block in keys.key_blocks[1:]:
            block.value, block.mute = 0.0, False
    if not names:
        _stand_on_the_basis(copy)
        copy.shape_key_clear()
        return [], left_out
    for block in list(keys.key_blocks[1:]):
        if block.name not in names:
            copy.shape_key_remove(block)
    return names, left_out


def _stand_on_the_basis(copy: bpy.types.Object) -> None:
    blocks = copy.data.shape_keys.key_blocks
    place = np.empty(len(copy.data.vertices) * 3, dtype=np.float32)
    blocks[0].points.foreach_get("co", place)
    copy.data.vertices.foreach_set("co", place)


def _parts(
    head: bpy.types.Object,
    copy: bpy.types.Object,
    scene: bpy.types.Scene,
    made: list[bpy.types.ID],
    preset: Preset,
    options: ExportOptions,
) -> list[bpy.types.Object]:
    """The copy without the parts that the preset leaves out, in one object or in one object a part."""
    if options.parts == "joined" and not preset.without_parts:
        return [copy]
    names, part = part_of_faces(copy)
    kept = [
        number
        for number, name in enumerate(names)
        if (part == number).any() and not name.startswith(preset.without_parts or ("\n",))
    ]
    if options.parts == "joined":
        keep_faces(copy, np.isin(part, kept))
        return [copy]
    idle = idle_keys(copy)  # such as tongueOut of a head without a tongue: in the file they are, by name
    objects = []
    for number in kept:
        item = copy.copy()
        made.append(item)
        item.data = copy.data.copy()
        made.append(item.data)
        scene.collection.objects.link(item)
        item["part"] = names[number]
        keep_faces(item, part == number)
        drop_idle_keys(item, keep=() if objects else idle)
        objects.append(item)
    scene.collection.objects.unlink(copy)
    return objects


def _rename_groups(objects: list[bpy.types.Object], preset: Preset) -> None:
    for item in objects:
        for old, new in preset.groups:
            group = item.vertex_groups.get(old)
            if group is not None:
                group.name = new


def _copy_cameras(head: bpy.types.Object, copy: bpy.types.Object, scene: bpy.types.Scene, pictures: Pictures) -> None:
    """The head's cameras once more, bound to the copy, their photographs among the pictures."""
    made = []
    for original in head.children:
        if original.type != "CAMERA":
            continue
        camera = original.copy()
        camera.data = original.data.copy()
        pictures.made += [camera, camera.data]
        camera.parent = copy
        camera.hide_viewport = camera.hide_render = False
        for background in camera.data.background_images:
            if background.image is not None:
                background.image = pictures.picture(background.image)
        scene.collection.objects.link(camera)
        pictures.names += [(original, camera), (original.data, camera.data)]
        made.append(camera)
    if made and "lifemask_image_size" in made[0].data:
        cameras.look_through(scene, made[0])


def _borrow_names(
    names: ExitStack, head: bpy.types.Object, objects: list[bpy.types.Object], pictures: Pictures
) -> None:
    """Give the copies the names of what they are copies of, for as long as `names` is open."""
    pairs = list(pictures.names)
    if len(objects) == 1 and "part" not in objects[0]:
        pairs += [(head, objects[0]), (head.data, objects[0].data)]
    for original, copy in pairs:
        name = original.name
        if original.library is None:
            original.name = "original of " + name
            names.callback(setattr, original, "name", name)
        copy.name = name
    for item in objects:
        if "part" in item:
            item.name = item.data.name = f"{head.name}_{item['part']}"
            del item["part"]


def _remove(made: list[bpy.types.ID]) -> None:
    """Remove everything that was made for the export, and nothing twice."""
    scenes = [item for item in made if isinstance(item, bpy.types.Scene)]
    bpy.data.batch_remove([item for item in made if item not in scenes])
    for scene in scenes:
        bpy.data.scenes.remove(scene)
    made.clear()


def _has_key(item: bpy.types.Object, name: str) -> bool:
    keys = item.data.shape_keys
    return keys is not None and name in keys.key_blocks


def _views(space: bpy.types.SpaceView3D) -> list[bpy.types.RegionView3D]:
    return [view for view in (space.region_3d, *space.region_quadviews) if view is not None]
