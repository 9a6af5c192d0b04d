"""A head in other programs' files: .blend, FBX, GLB, OBJ.

FBX, GLB and OBJ are written from a copy of the head in a scene of its own: the neutral at the origin, no modifiers, no
drivers, no action, no cameras. So what is in the file never depends on how the head is posed, and modifiers cannot
make Blender's exporters drop the shape keys. FBX and GLB hold exactly the free keys (ARKit's 52, all at 0). Driven
correctives are left out, because neither format can drive a key: each export has a JSON file beside it that gives
their formula, the units, the axes and the values of the photographs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy

from . import materials, shape_keys


class ExportError(Exception):
    """An export that did not come about; the text is a sentence for a person."""


def save_blend(path: Path) -> None:
    """Save a copy of the whole file with every picture packed, so that it can be moved anywhere.

    Pictures keep a path relative to the file, from which Blender can unpack or reload them.
    """
    for image in bpy.data.images:
        if image.source == "FILE" and image.filepath:
            if not image.packed_file:
                image.pack()
            image.filepath_raw = "//" + Path(bpy.path.basename(image.filepath)).name
    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, compress=True, relative_remap=False)
    _expect(path)


def export_fbx(head: bpy.types.Object, path: Path) -> None:
    """FBX with shape keys and the texture inside: Y up, facing +Z, metres, no rotation or scale."""
    with _neutral_copy(head, plain_cut_outs=True) as kept:
        bpy.ops.export_scene.fbx(
            filepath=str(path),
            use_selection=True,
            object_types={"MESH"},
            use_mesh_modifiers=False,
            mesh_smooth_type="OFF",
            apply_scale_options="FBX_SCALE_ALL",
            axis_forward="-Z",
            axis_up="Y",
            bake_space_transform=True,
            bake_anim=False,
            add_leaf_bones=False,
            path_mode="COPY",
            embed_textures=True,
        )
    _expect(path)
    _write_note(head, path, kept)


def export_glb(head: bpy.types.Object, path: Path) -> None:
    """Binary glTF with morph targets named in `targetNames`, the texture inside: Y up, facing +Z, metres."""
    with _neutral_copy(head) as kept:
        bpy.ops.export_scene.gltf(
            filepath=str(path),
            export_format="GLB",
            use_selection=True,
            export_yup=True,
            export_apply=False,
            export_animations=False,
            export_morph=True,
            export_morph_normal=True,
            export_skins=False,
            export_cameras=False,
            export_lights=False,
            export_extras=False,
        )
    _expect(path)
    _write_note(head, path, kept)


def export_obj(head: bpy.types.Object, path: Path) -> None:
    """OBJ and MTL of the neutral, the texture copied beside them: Y up, facing +Z, metres. OBJ has no shape keys."""
    with _neutral_copy(head, plain_cut_outs=True):
        bpy.ops.wm.obj_export(
            filepath=str(path),
            export_selected_objects=True,
            apply_modifiers=False,
            forward_axis="NEGATIVE_Z",
            up_axis="Y",
            export_normals=True,
            export_uv=True,
            export_materials=True,
            path_mode="COPY",
        )
    _expect(path)
    _write_note(head, path, [])


EXPORTERS = {"fbx": export_fbx, "glb": export_glb, "obj": export_obj}


@contextmanager
def _neutral_copy(head: bpy.types.Object, *, plain_cut_outs: bool = False) -> Iterator[list[str]]:
    """A neutral, undriven copy of the head, alone and selected in a new scene; both are gone afterwards.

    `plain_cut_outs` gives the copy plain dark lashes, for formats that put every picture on the first UV map.

    The window shows that scene meanwhile, because exporters take theirs from it. Yields the names of the keys that the
    copy kept.
    """
    window = bpy.context.window or bpy.context.window_manager.windows[0]
    shown = window.scene
    scene = bpy.data.scenes.new("Lifemask export")
    copy = head.copy()
    copy.data = head.data.copy()
    name, mesh_name = head.name, head.data.name
    kept: list[str] = []
    replaced: list[tuple[bpy.types.Material, bpy.types.Material, str]] = []
    try:
        copy.parent = None
        copy.matrix_world.identity()
        copy.modifiers.clear()
        copy.animation_data_clear()
        keys = copy.data.shape_keys
        if keys:
            driven = shape_keys.driven_keys(head)
            keys.animation_data_clear()
            for block in list(keys.key_blocks[1:]):
                if block.name in driven:
                    copy.shape_key_remove(block)
                else:
                    block.value, block.mute = 0.0, False
                    kept.append(block.name)
            copy.active_shape_key_index = 0
            copy.show_only_shape_key = False
        if plain_cut_outs:
            for index, material in enumerate(copy.data.materials):
                if materials.is_cut_out(material):
                    replaced.append((material, materials.add_material("lashes", None), material.name))
                    copy.data.materials[index] = replaced[-1][1]
        for original, plain, material_name in replaced:
            original.name = material_name + ".original"
            plain.name = material_name
        scene.collection.objects.link(copy)
        head.name, head.data.name = name + ".original", mesh_name + ".original"
        copy.name, copy.data.name = name, mesh_name
        layer = scene.view_layers[0]
        layer.objects.active = copy
        copy.select_set(True, view_layer=layer)
        layer.update()
        window.scene = scene  # overriding the context's scene alone makes the glTF exporter crash Blender 4.5
        yield kept
    finally:
        window.scene = shown
        mesh = copy.data
        bpy.data.objects.remove(copy)
        bpy.data.meshes.remove(mesh)
        bpy.data.scenes.remove(scene)
        for original, plain, material_name in replaced:
            bpy.data.materials.remove(plain)
            original.name = material_name
        head.name, head.data.name = name, mesh_name


def _write_note(head: bpy.types.Object, path: Path, kept: list[str]) -> None:
    """What the format cannot say, in a JSON file named after the export."""
    left_out = shape_keys.driven_keys(head)
    note = {
        "file": path.name,
        "units": "metres",
        "axes": "+Y up, +Z out of the face, +X to the subject's left",
        "shape": "neutral, eyes open, mouth shut",
        "keys": kept,
        "photograph_values": shape_keys.photograph_values(head),
        "keys_left_out": {
            name: {"follows": followed, "formula": formula, "w": f"value of {followed}"}
            for name, (followed, formula) in left_out.items()
        },
        "face_model": head.get("lifemask_face_model", ""),
        "licence": head.get("lifemask_licence", ""),
    }
    if left_out:
        note["why_left_out"] = (
            "These keys follow another key by a formula, which this format cannot hold. With them the lids stay on "
            "the eyeball half-way; open and shut lids do not need them."
        )
    path.with_name(path.name + ".json").write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def _expect(path: Path) -> None:
    """Blender's exporters report some failures and go on: trust the file, not the return value."""
    if not path.is_file() or path.stat().st_size == 0:
        raise ExportError(f"Blender did not write {path.name}.")
