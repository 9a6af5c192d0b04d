"""The parts of a head that is exported: which face belongs to which, and meshes that hold some of them."""

from __future__ import annotations

from collections.abc import Collection

import bmesh
import bpy
import numpy as np

from . import materials

SMALLEST_MOTION_METRES = 1e-7


def part_of_faces(head: bpy.types.Object) -> tuple[list[str], np.ndarray]:
    """Which part each face belongs to.

    Parts are the head's vertex groups that bear the name of a part of a face or of one of its materials; groups that a
    person has made are none. A face belongs to the last group that holds all its vertices; where several do, as along a
    seam that two parts share, to the one that its material is named after. Returns names and (F,) indices into them;
    "rest" is the last name.
    """
    mesh = head.data
    of_slots = [slot.material.name.split(".")[0] if slot.material else "" for slot in head.material_slots]
    of_materials = set(of_slots)
    groups = {
        group.index: group.name
        for group in head.vertex_groups
        if group.name in of_materials or materials.surface_of(group.name) is not materials.OTHER_PART
    }
    holds = np.zeros((len(groups) + 1, len(mesh.vertices)), dtype=bool)
    row = {index: number for number, index in enumerate(groups)}
    for vertex in mesh.vertices:
        for member in vertex.groups:
            if member.weight > 0 and member.group in row:
                holds[row[member.group], vertex.index] = True
    corner = np.empty(len(mesh.loops), dtype=np.int32)
    mesh.loops.foreach_get("vertex_index", corner)
    start = np.empty(len(mesh.polygons), dtype=np.int32)
    mesh.polygons.foreach_get("loop_start", start)
    part = np.full(len(mesh.polygons), len(groups), dtype=np.int32)
    slot = np.empty(len(mesh.polygons), dtype=np.int32)
    mesh.polygons.foreach_get("material_index", slot)
    inside = [np.logical_and.reduceat(holds[number][corner], start) for number in range(len(groups))]
    for number, faces in enumerate(inside):
        part[faces] = number
    for number, (name, faces) in enumerate(zip(groups.values(), inside, strict=True)):
        slots = [index for index, material in enumerate(of_slots) if material == name]
        part[faces & np.isin(slot, slots)] = number
    return [*groups.values(), "rest"], part


def keep_faces(item: bpy.types.Object, wanted: np.ndarray) -> None:
    """Remove all other faces, their vertices, and the material slots and vertex groups that nothing uses any more."""
    if wanted.all():
        return
    work = bmesh.new()
    try:
        work.from_mesh(item.data)
        work.faces.ensure_lookup_table()
        gone = [work.faces[index] for index in np.flatnonzero(~wanted)]
        bmesh.ops.delete(work, geom=gone, context="FACES")
        work.to_mesh(item.data)
    finally:
        work.free()
    used = np.empty(len(item.data.polygons), dtype=np.int32)
    item.data.polygons.foreach_get("material_index", used)
    for index in reversed(range(len(item.data.materials))):
        if index not in used:
            item.data.materials.pop(index=index)
    members = {member.group for vertex in item.data.vertices for member in vertex.groups if member.weight > 0}
    for group in reversed(list(item.vertex_groups)):
        if group.index not in members:
            item.vertex_groups.remove(group)


def drop_idle_keys(item: bpy.types.Object, keep: Collection[str] = ()) -> None:
    """Remove the keys that move nothing of this part, but those in `keep`."""
    idle = [name for name in idle_keys(item) if name not in keep]
    keys = item.data.shape_keys
    if keys is None:
        return
    if len(idle) == len(keys.key_blocks) - 1:
        item.shape_key_clear()
        return
    for name in idle:
        item.shape_key_remove(keys.key_blocks[name])


def idle_keys(item: bpy.types.Object) -> list[str]:
    """The names of the keys that move nothing of a mesh."""
    keys = item.data.shape_keys
    if keys is None:
        return []
    place = [np.empty(len(item.data.vertices) * 3, dtype=np.float32) for _ in keys.key_blocks]
    for block, target in zip(keys.key_blocks, place, strict=True):
        block.points.foreach_get("co", target)
    return [
        block.name
        for block, target in zip(keys.key_blocks[1:], place[1:], strict=True)
        if np.abs(target - place[0]).max(initial=0.0) < SMALLEST_MOTION_METRES
    ]
