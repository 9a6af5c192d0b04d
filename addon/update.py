"""Gives a head that is in the file the figures of a new result, and keeps everything that the person did to it.

Kept: name, place, materials, modifiers, vertex groups, constraints, keys of the person's own, and that keys were
removed. Taken over: the neutral, the shape keys that are there (by name), their values, cameras, pictures, the record.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from . import cameras, displacement, head_builder, head_record, pictures, shape_keys
from .frames import blender_from_model
from .result import Result

GAP = 0.05
"""Metres between a head and the new one beside it."""


@dataclass(frozen=True)
class Updated:
    """The head that shows the new figures, and sentences on what was not as expected."""

    head: bpy.types.Object
    notes: tuple[str, ...]


def update_head(
    head: bpy.types.Object, result: Result, record: head_record.HeadRecord, scene: bpy.types.Scene
) -> Updated:
    """Bring a result into a head. Where its mesh has other vertices now, a new head is built beside it.

    Args:
        head: in object mode, with a record, not linked from another file.
        result: as read.
        record: what the head shall know of itself from now on; its id is that of the head.
        scene: for a new head, should one be needed.
    """
    if len(head.data.vertices) != len(result.vertices):
        return _beside(head, result, record, scene)
    before = head_record.record_of(head)
    removed = _move_vertices(head, result, before.keys)
    notes = []
    if removed:
        notes.append(f"Shape keys that you removed stay removed: {', '.join(removed)}.")
    _animate(head, result)
    _part_from_copies(head)
    notes += _replace_pictures(head, result)
    notes += displacement.update(head, result.displacement)
    _match_cameras(head, result, len(before.photographs))
    head_record.write_record(head, record)
    head.data.update()
    head.update_tag()
    return Updated(head, tuple(notes))


def _beside(head: bpy.types.Object, result: Result, record: head_record.HeadRecord, scene: bpy.types.Scene) -> Updated:
    built = head_builder.build_head(result, scene, head.name, head_record.with_new_id(record))
    head_builder.make_independent(built)
    built.object.matrix_world = head.matrix_world
    built.object.location.x += head.dimensions.x + GAP
    note = (
        f"The mesh of {head.name} has {len(head.data.vertices)} vertices and the new one {len(result.vertices)}, so "
        f"{head.name} was left as it is and the new head {built.object.name} is beside it."
    )
    return Updated(built.object, (note,))


def _move_vertices(head: bpy.types.Object, result: Result, built: tuple[str, ...]) -> list[str]:
    """The neutral, the keys by name, their values. Returns the names that the person had removed."""
    basis = blender_from_model(result.vertices)
    keys = head.data.shape_keys
    if keys is None:
        head.data.vertices.foreach_set("co", np.ascontiguousarray(basis, dtype=np.float32).ravel())
        return list(result.key_names)
    offsets = dict(zip(result.key_names, blender_from_model(result.dense_keys()), strict=True))
    before = {block.name: _points(block) for block in keys.key_blocks}
    after: dict[str, np.ndarray] = {}

    def moved(block: bpy.types.ShapeKey) -> np.ndarray:
        """Where a key's points go; a key of the person's own keeps its distance from the key it is relative to."""
        if block.name not in after:
            if block == keys.reference_key:
                after[block.name] = basis
            elif block.name in offsets:
                after[block.name] = basis + offsets[block.name]
            else:
                parent = block.relative_key
                after[block.name] = before[block.name]  # ends the way round where two keys are relative to each other
                own = before[block.name] - before[parent.name]
                after[block.name] = (basis if parent == block else moved(parent)) + own
        return after[block.name]

    for block in keys.key_blocks:
        block.points.foreach_set("co", np.ascontiguousarray(moved(block), dtype=np.float32).ravel())
    head.data.vertices.foreach_set("co", np.ascontiguousarray(basis, dtype=np.float32).ravel())
    missing = [name for name in result.key_names if name not in before]
    for name in missing:
        if name not in built:  # an older version did not know it yet
            shape_keys.add_key(head, name, basis + offsets[name])
            if name in result.correctives:
                shape_keys.drive(head, name, *result.correctives[name])
    _set_values(head, result)
    return [name for name in missing if name in built]


def _set_values(head: bpy.types.Object, result: Result) -> None:
    """As the first photograph shows; keys that are driven and keys of the person's own are left alone."""
    if not len(result.key_weights):
        return
    driven = shape_keys.driven_keys(head)
    for name, value in zip(result.key_names, result.key_weights[0].tolist(), strict=True):
        block = head.data.shape_keys.key_blocks.get(name)
        if block is not None and name not in driven:
            block.value = value


def _points(block: bpy.types.ShapeKey) -> np.ndarray:
    flat = np.empty(len(block.points) * 3, dtype=np.float32)
    block.points.foreach_get("co", flat)
    return flat.reshape(-1, 3)


def _animate(head: bpy.types.Object, result: Result) -> None:
    """Store the new photographs' expressions in place of the old ones; an action of the person's own stays."""
    keys = head.data.shape_keys
    if keys is None or not len(result.key_weights):
        return
    present = {block.name for block in keys.key_blocks}
    free = [index for index, name in enumerate(result.key_names) if name in present and name not in result.correctives]
    names = [result.key_names[index] for index in free]
    shape_keys.replace_photographs(head, names, result.key_weights[:, free])


def _part_from_copies(head: bpy.types.Object) -> None:
    """Give a head its own skin and cameras where Blender let a copy of it have the same ones: the copy stays as it is.

    Copies that share the mesh are one head, and keep sharing.
    """
    others = (other for other, _ in head_record.heads() if other.data != head.data)
    shown_elsewhere = {image for other in others for image in head_builder.pictures_of(other)}
    for image in head_builder.pictures_of(head):
        if head_builder.ALBEDO in image and image in shown_elsewhere:
            own = image.copy()
            for slot in head.material_slots:
                if image in head_builder.images_of(slot.material):
                    slot.material = slot.material.copy()
                    for node in slot.material.node_tree.nodes:
                        if node.type == "TEX_IMAGE" and node.image == image:
                            node.image = own
    displacement.make_own(head)
    for camera in cameras.cameras_of(head).values():
        if camera.data.users > 1:
            camera.data = camera.data.copy()
            for background in camera.data.background_images:
                background.image = background.image and background.image.copy()


def _replace_pictures(head: bpy.types.Object, result: Result) -> list[str]:
    if result.albedo is None:
        return []
    mine = [image for image in head_builder.pictures_of(head) if head_builder.ALBEDO in image]
    if not mine:
        return [f"No material of {head.name} shows the texture that Lifemask made, so no texture was replaced."]
    for image in mine:
        pictures.pack(pictures.load(result.albedo, image))
    return []


def _match_cameras(head: bpy.types.Object, result: Result, count_before: int) -> None:
    """Cameras by the number of their photograph: removed ones stay removed, new photographs get one."""
    present = cameras.cameras_of(head)
    collection = head.users_collection[0] if head.users_collection else bpy.context.scene.collection
    for number, photograph in enumerate(result.photographs):
        if number in present:
            cameras.match(present[number], photograph)
            camera = present[number]
        elif number >= count_before:
            camera = cameras.add_camera(photograph, f"{head.name} {photograph.path.stem}", collection, head, number)
        else:
            continue
        pictures.pack(head_builder.background_of(camera))
    for number, camera in present.items():
        if number >= len(result.photographs):
            bpy.data.objects.remove(camera)
