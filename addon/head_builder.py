"""A result folder becomes a head in a Blender file: mesh, parts, UVs, shape keys, materials, cameras.

Works on bpy.data and the scene it is given, never on the context, so that operators, scripts and tests call the same
function. Names may be taken already: Blender numbers them, and nothing here looks an object up by its name.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from . import cameras, displacement, head_record, lashes, materials, pictures, shape_keys
from .frames import blender_from_model
from .result import Result

ALBEDO = "lifemask_albedo"
"""ID property that marks the picture of the skin, so that an update finds it."""


@dataclass(frozen=True)
class Head:
    """What was built: the mesh object, one camera a photograph, the collection that holds them, the key action."""

    object: bpy.types.Object
    cameras: tuple[bpy.types.Object, ...]
    collection: bpy.types.Collection
    action: bpy.types.Action | None


def build_head(
    result: Result, scene: bpy.types.Scene, name: str = "Head", record: head_record.HeadRecord | None = None
) -> Head:
    """Build the head of a result in a scene, in a collection of its own.

    `record` is what the head knows of itself; without it, what the result folder tells.

    The keys have the values of the first photograph; its action has the neutral at frame 0 and photograph i at frame
    1 + i. The scene's frame, camera and resolution are left alone (`show_photograph` sets them).
    """
    collection = bpy.data.collections.new(name)
    scene.collection.children.link(collection)
    head = build_object(result, name)
    collection.objects.link(head)
    matched = tuple(
        cameras.add_camera(photograph, f"{name} {photograph.path.stem}", collection, head, number)
        for number, photograph in enumerate(result.photographs)
    )
    head_record.write_record(head, record or head_record.describe(result))
    keys = head.data.shape_keys
    action = keys.animation_data.action if keys and keys.animation_data else None
    return Head(head, matched, collection, action)


def build_object(result: Result, name: str = "Head") -> bpy.types.Object:
    """The mesh object of a result, in no collection yet: parts, UVs, materials, keys with values, drivers, action."""
    mesh = _build_mesh(result, name)
    head = bpy.data.objects.new(name, mesh)
    albedo = pictures.load(result.albedo) if result.albedo else None
    if albedo is not None:
        albedo[ALBEDO] = True
    _crease_teeth(mesh, result)
    hairs = _add_lash_uvs(mesh, result)
    for part in result.part_names:
        mesh.materials.append(materials.add_material(part, albedo, hairs if part == "lashes" else None))
    _add_vertex_groups(head, result)
    _add_keys(head, result)
    if result.displacement and displacement.SKIN in result.part_names:
        skin = head.material_slots[result.part_names.index(displacement.SKIN)].material
        displacement.add(head, skin, result.displacement)
    head["lifemask_face_model"] = str(result.face_model.get("name", ""))
    head["lifemask_licence"] = str(result.face_model.get("licence", ""))
    return head


def make_independent(head: Head) -> None:
    """Let the head need no file but its own, and let the person move its sliders.

    All pictures are packed. The action with the photographs' expressions is kept but not assigned: assigned, it would
    set every slider back when the frame changes.
    """
    for image in [*pictures_of(head.object), *(background_of(camera) for camera in head.cameras)]:
        pictures.pack(image)
    shape_keys.set_aside(head.object)


def pictures_of(head: bpy.types.Object) -> list[bpy.types.Image]:
    """The pictures on the head's materials, each once."""
    return list(dict.fromkeys(image for slot in head.material_slots for image in images_of(slot.material)))


def images_of(material: bpy.types.Material | None) -> list[bpy.types.Image]:
    """The pictures in a material's nodes and node groups; none where there is no material."""
    return _images_in(material.node_tree if material else None)


def _images_in(tree: bpy.types.NodeTree | None) -> list[bpy.types.Image]:
    images = []
    for node in tree.nodes if tree else ():
        if node.type == "TEX_IMAGE" and node.image:
            images.append(node.image)
        elif node.type == "GROUP":
            images += _images_in(node.node_tree)
    return images


def background_of(camera: bpy.types.Object) -> bpy.types.Image | None:
    """The photograph behind a matched camera, or None."""
    return next((background.image for background in camera.data.background_images if background.image), None)


def show_photograph(scene: bpy.types.Scene, head: Head, index: int = 0) -> None:
    """Put the scene on a photograph's frame and look through its camera at its resolution.

    Raises IndexError when the head has no such photograph.
    """
    cameras.look_through(scene, head.cameras[index])
    scene.frame_set(shape_keys.FIRST_PHOTOGRAPH_FRAME + index)


def _build_mesh(result: Result, name: str) -> bpy.types.Mesh:
    """Vertices, faces, material indices, smooth shading and UVs, without shape keys."""
    corner = result.faces >= 0  # (F, 4)
    sides = corner.sum(axis=1).astype(np.int32)
    vertex_of_corner = result.faces[corner].astype(np.int32)
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(result.vertices))
    mesh.vertices.foreach_set("co", blender_from_model(result.vertices).ravel())
    mesh.loops.add(len(vertex_of_corner))
    mesh.loops.foreach_set("vertex_index", vertex_of_corner)
    mesh.polygons.add(len(sides))
    mesh.polygons.foreach_set("loop_start", (np.cumsum(sides) - sides).astype(np.int32))
    mesh.polygons.foreach_set("material_index", result.face_part)
    mesh.update(calc_edges=True)
    mesh.shade_smooth()
    layer = mesh.uv_layers.new(name="UVMap", do_init=False)
    layer.uv.foreach_set("vector", result.uv[result.face_uv[corner]].ravel())
    return mesh


def _crease_teeth(mesh: bpy.types.Mesh, result: Result) -> None:
    """Keep the coarse teeth from shrinking under a Subdivision modifier."""
    teeth = np.zeros(len(result.vertices), dtype=bool)
    for part in result.part_names:
        if part.startswith("teeth"):
            teeth[result.part_vertices(part)] = True
    ends = np.empty(len(mesh.edges) * 2, dtype=np.int32)
    mesh.edges.foreach_get("vertices", ends)
    crease = mesh.attributes.new("crease_edge", "FLOAT", "EDGE")
    crease.data.foreach_set("value", teeth[ends.reshape(-1, 2)].all(axis=1).astype(np.float32))


def _add_lash_uvs(mesh: bpy.types.Mesh, result: Result) -> tuple[bpy.types.Image, str] | None:
    """A second UV map for the lashes; returns the picture that lies on it, or None where there are no lash strips."""
    if "lashes" not in result.part_names or "skin" not in result.part_names:
        return None
    skin = result.part_vertices("skin")
    strips = result.faces[slice(*result.part_faces[result.part_names.index("lashes")])]
    coordinates = lashes.lash_coordinates(result.vertices, strips, result.vertices[skin])
    if coordinates is None:
        return None
    layer = mesh.uv_layers.new(name=lashes.UV_NAME, do_init=False)
    layer.uv.foreach_set("vector", coordinates[result.faces[result.faces >= 0]].ravel())
    mesh.uv_layers.active_index = 0
    return lashes.hair_picture(), lashes.UV_NAME


def _add_vertex_groups(head: bpy.types.Object, result: Result) -> None:
    """One vertex group a part, weight 1."""
    for part in result.part_names:
        head.vertex_groups.new(name=part).add(result.part_vertices(part).tolist(), 1.0, "REPLACE")


def _add_keys(head: bpy.types.Object, result: Result) -> None:
    if not result.key_names:
        return
    offsets = blender_from_model(result.dense_keys())
    shape_keys.add_shape_keys(head, blender_from_model(result.vertices), result.key_names, offsets)
    free = [index for index, name in enumerate(result.key_names) if name not in result.correctives]
    if len(result.key_weights):
        names = [result.key_names[index] for index in free]
        shape_keys.animate_photographs(head, names, result.key_weights[:, free], f"{head.name} photographs")
        shape_keys.set_values(head, dict(zip(result.key_names, result.key_weights[0].tolist(), strict=True)))
    for name, (driver_name, formula) in result.correctives.items():
        shape_keys.drive(head, name, driver_name, formula)
