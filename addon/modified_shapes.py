"""What a mesh and each of its shape keys look like under its Subdivision, Multiresolution and Displace modifiers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import bpy
import numpy as np

SURFACE_MODIFIERS = ("SUBSURF", "MULTIRES", "DISPLACE")


@dataclass(frozen=True)
class ModifiedShape:
    """A key at 1, all others at 0.

    Attributes:
        key: its name, "" for the basis.
        points: (V, 3) float32; normals: (V, 3) float32 unit vectors.
    """

    key: str
    points: np.ndarray
    normals: np.ndarray


def keep_surface_modifiers(item: bpy.types.Object) -> None:
    """Remove all other modifiers, and those that the viewport does not show."""
    for modifier in list(item.modifiers):
        if modifier.type not in SURFACE_MODIFIERS or not modifier.show_viewport:
            item.modifiers.remove(modifier)


def modified_mesh(item: bpy.types.Object, layer: bpy.types.ViewLayer) -> bpy.types.Mesh:
    """A new mesh with the basis under the modifiers, all its layers, and no keys.

    `item` is in the view layer; its keys are left at 0, without animation.
    """
    _set_all_keys_to_zero(item)
    layer.update()
    graph = layer.depsgraph
    return bpy.data.meshes.new_from_object(item.evaluated_get(graph), preserve_all_data_layers=True, depsgraph=graph)


def modified_shapes(
    item: bpy.types.Object, scene: bpy.types.Scene, made: list[bpy.types.ID]
) -> Iterator[ModifiedShape]:
    """The basis and then each key under the modifiers.

    Args:
        item: a mesh object in the scene.
        scene: of its own, so that nothing else is evaluated.
        made: what is made for this; the caller removes it.
    """
    bare = item.copy()
    made.append(bare)
    bare.data = item.data.copy()
    made.append(bare.data)
    if all(modifier.type == "SUBSURF" for modifier in bare.modifiers):  # others may read vertex groups and UVs
        bare.vertex_groups.clear()
        for uv in list(bare.data.uv_layers):
            bare.data.uv_layers.remove(uv)
    bare.show_only_shape_key = False
    scene.collection.objects.link(bare)
    layer = scene.view_layers[0]
    item.hide_viewport = True  # else it is evaluated each time, too
    try:
        _set_all_keys_to_zero(bare)
        yield _shape(bare, layer, "")
        for block in bare.data.shape_keys.key_blocks[1:] if bare.data.shape_keys else ():
            block.slider_max = max(block.slider_max, 1.0)
            block.value = 1.0
            yield _shape(bare, layer, block.name)
            block.value = 0.0
    finally:
        item.hide_viewport = False
        scene.collection.objects.unlink(bare)


def _set_all_keys_to_zero(item: bpy.types.Object) -> None:
    keys = item.data.shape_keys
    if keys is None:
        return
    keys.animation_data_clear()
    for block in keys.key_blocks[1:]:
        block.value, block.mute = 0.0, False


def _shape(item: bpy.types.Object, layer: bpy.types.ViewLayer, key: str) -> ModifiedShape:
    layer.update()
    mesh = item.evaluated_get(layer.depsgraph).data
    return ModifiedShape(key, vectors(mesh.vertices, "co"), vectors(mesh.vertex_normals, "vector"))


def vectors(items: bpy.types.bpy_prop_collection, name: str) -> np.ndarray:
    """(N, 3) float32: a vector property of all items of a collection."""
    flat = np.empty(len(items) * 3, dtype=np.float32)
    items.foreach_get(name, flat)
    return flat.reshape(-1, 3)
