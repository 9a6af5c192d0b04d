"""Skin detail for what knows no displacement: in the vertices of a dense mesh with every shape key, or a normal map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from . import displacement, head_record, shape_keys
from .displacement_maps import DisplacementMaps, UnwrappedSurface, normal_map, sample
from .modified_shapes import keep_surface_modifiers, modified_mesh, modified_shapes, vectors
from .update import GAP

SPACING_METRES = 0.0011
"""Of neighbouring vertices, on half of the area that has detail at the most."""

MOST_FACES = 1_000_000
SMALLEST_DETAIL_METRES = 1e-6
NORMAL_MAP = "lifemask_normal_map"
"""ID property of a normal map that was baked: the id of its head."""


@dataclass(frozen=True)
class VertexDetail:
    """How far vertices move along their normals.

    Attributes:
        maps: of the head.
        strength, photograph: as its sliders stand.
        vertex: (N,) which vertex each corner of the skin belongs to; uv: (N, 2) where it lies in the maps.
        count: of all vertices.
    """

    maps: DisplacementMaps
    strength: float
    photograph: float
    vertex: np.ndarray
    uv: np.ndarray
    count: int

    def at(self, values: Mapping[str, float]) -> np.ndarray:
        """(V,) float32 metres with these key values; the mean of its corners where a vertex has several."""
        metres = sample(self.maps.mixed(values, self.strength, self.photograph), self.uv)
        corners = np.bincount(self.vertex, minlength=self.count)
        total = np.bincount(self.vertex, metres, minlength=self.count)
        return (total / np.maximum(corners, 1)).astype(np.float32)


def apply_to_mesh(
    copy: bpy.types.Object,
    scene: bpy.types.Scene,
    made: list[bpy.types.ID],
    detail: displacement.Detail | None = None,
) -> None:
    """Bake subdivision, displacement modifiers and skin detail into a mesh and each of its keys.

    With detail the mesh is subdivided until its vertices are as near as `SPACING_METRES`. The shape of each key at 1 is
    what the modifiers make of it, with its own displacement; where two keys of one group of wrinkles are raised
    together, theirs add up. Keys keep their values and lose drivers and action. Multiplies the vertices, so it takes
    seconds.

    Args:
        copy: an object with a mesh of its own, in the scene.
        scene: of its own.
        made: what is made on the way; the caller removes it.
        detail: of the head that this is a copy of; the materials have the same order.

    Raises:
        displacement.DetailError: a map is gone.
    """
    keep_surface_modifiers(copy)
    maps = detail.maps() if detail else None
    if not copy.modifiers and not maps:
        return
    layer = scene.view_layers[0]
    blocks = copy.data.shape_keys.key_blocks[1:] if copy.data.shape_keys else []
    before = [(block.name, block.value, block.mute) for block in blocks]
    plain = modified_mesh(copy, layer)
    made.append(plain)
    if maps:
        levels = _further_levels(plain, maps, detail.slots)
        if levels:
            dense = copy.modifiers.new("Skin Detail", "SUBSURF")
            dense.levels = dense.render_levels = levels
            plain = modified_mesh(copy, layer)
            made.append(plain)
    moved = None
    if maps:
        corners = _skin_corners(plain, detail.slots)
        moved = VertexDetail(maps, detail.strength, detail.photograph, *corners, len(plain.vertices))
    at_rest = moved.at({}) if moved else None
    target = copy.copy()
    target.modifiers.clear()
    target.data = plain
    made.append(target)
    for shape in modified_shapes(copy, scene, made):
        points = shape.points
        if moved:
            raised = moved.at({shape.key: 1.0}) if maps.is_raised_by(shape.key) else at_rest
            points = points + shape.normals * raised[:, None]
        if not shape.key:
            plain.vertices.foreach_set("co", points.ravel())
            if before:
                target.shape_key_add(name="Basis", from_mix=False)
        else:
            shape_keys.add_key(target, shape.key, points)
    plain.update()
    copy.modifiers.clear()
    copy.data = plain
    for name, value, mute in before:
        block = plain.shape_keys.key_blocks[name]
        block.value, block.mute = value, mute
    if before:
        plain.shape_keys.name = plain.name


def bake_mesh(head: bpy.types.Object) -> bpy.types.Object:
    """A dense copy of a head, beside it, with the skin's detail in its vertices and in each shape key.

    It is a head of its own: key values, drivers, materials (the skin without displacement), UVs and record come along,
    modifiers that are no part of the surface do not. Raises displacement.DetailError for a head without skin detail.
    """
    detail = _detail_of(head)
    made: list[bpy.types.ID] = []
    keys_before = set(bpy.data.shape_keys)
    scene = bpy.data.scenes.new("Lifemask detail")
    try:
        copy = head.copy()
        made.append(copy)
        copy.data = head.data.copy()
        made.append(copy.data)
        copy.hide_viewport = False
        scene.collection.objects.link(copy)
        apply_to_mesh(copy, scene, made, detail)
        for kept in (copy, copy.data):
            made.remove(kept)
        keys_before.add(copy.data.shape_keys)
    finally:
        bpy.data.batch_remove(made)
        bpy.data.scenes.remove(scene)
        # Blender counts a user too many of copied keys, so those that were cleared away are still there.
        bpy.data.batch_remove([keys for keys in bpy.data.shape_keys if keys not in keys_before])
    for collection in head.users_collection or [bpy.context.scene.collection]:
        collection.objects.link(copy)
    copy.name = copy.data.name = f"{head.name} detailed"
    copy.location.x += head.dimensions.x + GAP
    shape_keys.copy_animation(head, copy)
    skin = detail.material.copy()
    displacement.remove(skin)
    for slot in detail.slots:
        copy.material_slots[slot].material = skin
    for name in (displacement.STRENGTH, displacement.PHOTOGRAPH):
        copy.pop(name, None)
    record = head_record.record_of(head)
    if record is not None:
        head_record.write_record(copy, head_record.with_new_id(record))
    return copy


def bake_normal_map(head: bpy.types.Object) -> bpy.types.Image:
    """A packed picture of the skin's detail as it is now: tangent-space normals for OpenGL, for the coarse mesh.

    A map that was baked before is replaced. Raises displacement.DetailError where there is no detail, or where faces
    have more than four corners.
    """
    detail = _detail_of(head)
    values = shape_keys.values_of(head) if head.data.shape_keys else {}
    pixels = normal_pixels(detail, values)
    owner = head_record.record_of(head)
    mark = owner.id if owner else head.name
    image = next((image for image in bpy.data.images if image.get(NORMAL_MAP) == mark), None)
    if image is not None and tuple(image.size) != pixels.shape[1::-1]:
        bpy.data.images.remove(image)
        image = None
    if image is None:
        image = bpy.data.images.new(f"{head.name} normal", pixels.shape[1], pixels.shape[0], alpha=False)
        image.colorspace_settings.name = "Non-Color"
        image[NORMAL_MAP] = mark
        image.use_fake_user = True  # nothing shows it yet
    image.pixels.foreach_set(pixels.ravel())
    image.update()
    image.pack()
    return image


def save_normal_map(detail: displacement.Detail, values: Mapping[str, float], path: Path) -> None:
    """Write the normal map with these key values as an 8-bit PNG. Raises as `bake_normal_map`."""
    pixels = normal_pixels(detail, values)
    image = bpy.data.images.new(path.stem, pixels.shape[1], pixels.shape[0], alpha=False)
    try:
        image.colorspace_settings.name = "Non-Color"
        image.pixels.foreach_set(pixels.ravel())
        image.filepath_raw = str(path)
        image.file_format = "PNG"
        image.save()
    finally:
        bpy.data.images.remove(image)


def normal_pixels(detail: displacement.Detail, values: Mapping[str, float]) -> np.ndarray:
    """(H, W, 4) float32, bottom row first: the normal map with these key values, as a picture holds it."""
    height = detail.maps().mixed(values, detail.strength, detail.photograph)
    normals = normal_map(height, _unwrapped(detail))
    pixels = np.ones((*height.shape, 4), dtype=np.float32)
    pixels[..., :3] = 0.5 + 0.5 * normals
    return pixels


def _detail_of(head: bpy.types.Object) -> displacement.Detail:
    detail = displacement.detail_of(head)
    if detail is None:
        raise displacement.DetailError(f"{head.name} has no skin detail.")
    return detail


def _further_levels(mesh: bpy.types.Mesh, maps: DisplacementMaps, slots: list[int]) -> int:
    """How often to subdivide, so that vertices are near enough where there is detail."""
    moved = VertexDetail(maps, 1.0, 0.0, *_skin_corners(mesh, slots), len(mesh.vertices))
    has_detail = np.zeros(len(mesh.vertices), dtype=bool)
    has_detail[moved.vertex[sample(maps.extent(), moved.uv) > SMALLEST_DETAIL_METRES]] = True
    ends = np.empty(len(mesh.edges) * 2, dtype=np.int32)
    mesh.edges.foreach_get("vertices", ends)
    ends = ends.reshape(-1, 2)
    ends = ends[has_detail[ends].all(axis=1)]
    if not len(ends):
        return 0
    points = vectors(mesh.vertices, "co")
    length = np.sort(np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1))
    area = np.cumsum(length**2)
    spacing = float(length[np.searchsorted(area, 0.5 * area[-1])])
    levels = max(0, math.ceil(math.log2(max(spacing, 1e-9) / SPACING_METRES)))
    while levels and len(mesh.polygons) * 4**levels > MOST_FACES:
        levels -= 1
    return levels


def _skin_corners(mesh: bpy.types.Mesh, slots: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) vertices and (N, 2) UVs of the corners of all faces with these material slots."""
    corner, uv = _corners(mesh)
    slot = np.empty(len(mesh.polygons), dtype=np.int32)
    mesh.polygons.foreach_get("material_index", slot)
    sides = np.empty(len(mesh.polygons), dtype=np.int32)
    mesh.polygons.foreach_get("loop_total", sides)
    is_skin = np.repeat(np.isin(slot, slots), sides)
    return corner[is_skin], uv[is_skin]


def _corners(mesh: bpy.types.Mesh) -> tuple[np.ndarray, np.ndarray]:
    """(L,) vertices and (L, 2) UVs of all face corners, in the UV map that is rendered."""
    corner = np.empty(len(mesh.loops), dtype=np.int32)
    mesh.loops.foreach_get("vertex_index", corner)
    layer = _rendered_uv(mesh)
    uv = np.empty(len(mesh.loops) * 2, dtype=np.float32)
    layer.uv.foreach_get("vector", uv)
    return corner, uv.reshape(-1, 2)


def _rendered_uv(mesh: bpy.types.Mesh) -> bpy.types.MeshUVLoopLayer:
    if not mesh.uv_layers:
        raise displacement.DetailError("The head has no UV map, on which its displacement maps lie.")
    return next((layer for layer in mesh.uv_layers if layer.active_render), mesh.uv_layers[0])


def _unwrapped(detail: displacement.Detail) -> UnwrappedSurface:
    """The skin of the head's own mesh, its basis."""
    mesh = detail.head.data
    corner, uv = _corners(mesh)
    try:
        mesh.calc_tangents(uvmap=_rendered_uv(mesh).name)
    except RuntimeError:
        raise displacement.DetailError(
            f"{detail.head.name} has faces with more than four corners. Triangulate them for a normal map."
        ) from None
    normals, tangents = vectors(mesh.loops, "normal"), vectors(mesh.loops, "tangent")
    signs = np.empty(len(mesh.loops), dtype=np.float32)
    mesh.loops.foreach_get("bitangent_sign", signs)
    mesh.free_tangents()
    mesh.calc_loop_triangles()
    triangles = np.empty(len(mesh.loop_triangles) * 3, dtype=np.int32)
    mesh.loop_triangles.foreach_get("loops", triangles)
    slot = np.empty(len(mesh.loop_triangles), dtype=np.int32)
    mesh.loop_triangles.foreach_get("material_index", slot)
    return UnwrappedSurface(
        uv=uv,
        points=vectors(mesh.vertices, "co")[corner],
        normals=normals,
        tangents=tangents,
        signs=signs,
        vertices=corner,
        triangles=triangles.reshape(-1, 3)[np.isin(slot, detail.slots)],
    )
