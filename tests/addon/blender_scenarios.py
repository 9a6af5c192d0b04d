"""Runs in a Blender interpreter (bpy), one scenario a process: measures, writes the figures, judges nothing.

    python blender_scenarios.py SCENARIO ARGUMENTS_JSON OUTPUT

What a scenario returns goes to OUTPUT.json, its arrays to OUTPUT.npz. The process ends with os._exit, because
Blender's own way out crashes or hangs in some versions.
"""

import importlib.util
import json
import os
import sys
import time
import traceback
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def load_addon():
    """The checkout as an enabled extension, as the backend's child process loads it."""
    spec = importlib.util.spec_from_file_location("build_files", ROOT / "addon" / "build_files.py")
    build_files = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build_files)
    return build_files.load_extension()


def empty_file() -> None:
    import bpy

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)


def built(addon, result: str, times: int = 1) -> list:
    """Heads built from a result folder in an empty file."""
    import bpy

    empty_file()
    read = addon("result").read_result(Path(result))
    return [addon("head_builder").build_head(read, bpy.context.scene) for _ in range(times)]


def mesh_facts(head) -> dict:
    """Positions in the world, faces, UVs, materials and keys of a mesh object, whatever it came from."""
    import bpy

    bpy.context.view_layer.update()
    mesh, matrix = head.data, np.array(head.matrix_world)
    place = lambda points: points @ matrix[:3, :3].T + matrix[:3, 3]  # noqa: E731
    loop_vertex = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", loop_vertex)
    uv = np.empty(len(mesh.loops) * 2, np.float32)
    mesh.uv_layers[0].uv.foreach_get("vector", uv)
    of_face = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("material_index", of_face)
    sides = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("loop_total", sides)
    blocks = mesh.shape_keys.key_blocks if mesh.shape_keys else []
    facts = {
        "vertices": place(coordinates(mesh.vertices)),
        "loop_vertex": loop_vertex,
        "loop_uv": uv.reshape(-1, 2),
        "face_material": of_face,
        "face_sides": sides,
        "materials": [slot.material.name for slot in head.material_slots],
        "keys": [block.name for block in blocks],
        "key_values": [block.value for block in blocks],
        "key_points": np.array([place(coordinates(block.points)) for block in blocks]),
        "dimensions": list(head.dimensions),
        "scale": list(head.matrix_world.to_scale()),
        "rotation": list(head.matrix_world.to_euler()),
        "smooth": all(polygon.use_smooth for polygon in mesh.polygons),
    }
    return facts


def coordinates(points) -> np.ndarray:
    flat = np.empty(len(points) * 3, np.float32)
    points.foreach_get("co", flat)
    return flat.reshape(-1, 3).astype(np.float64)


def evaluated(head) -> np.ndarray:
    import bpy

    graph = bpy.context.evaluated_depsgraph_get()
    return coordinates(head.evaluated_get(graph).data.vertices)


def values_at(head, frame: int) -> list[float]:
    import bpy

    bpy.context.scene.frame_set(frame)
    return [block.value for block in head.data.shape_keys.key_blocks]


def build(addon, arguments: dict) -> dict:
    """The head as it stands in the file, its keys over the frames, its cameras."""
    import bpy
    from bpy_extras.object_utils import world_to_camera_view
    from mathutils import Vector

    (head,) = built(addon, arguments["result"])
    facts = mesh_facts(head.object)
    lash_uv = np.empty(len(head.object.data.loops) * 2, np.float32)
    head.object.data.uv_layers["Lashes"].uv.foreach_get("vector", lash_uv)
    facts["lash_uv"] = lash_uv.reshape(-1, 2)
    hairs = bpy.data.images["lashes"]
    facts["hair_cover"] = np.array(hairs.pixels[:]).reshape(hairs.size[1], hairs.size[0], 4)[..., 3]
    facts["cut_out"] = [addon("materials").is_cut_out(slot.material) for slot in head.object.material_slots]
    facts["groups"] = {
        group.name: [v.index for v in head.object.data.vertices if any(g.group == group.index for g in v.groups)]
        for group in head.object.vertex_groups
    }
    facts["values_at_frames"] = [values_at(head.object, frame) for frame in (0, 1, 2)]
    facts["driven"] = list(addon("shape_keys").driven_keys(head.object))
    scene = bpy.context.scene
    projected, resolutions, backgrounds = [], [], []
    for index, camera in enumerate(head.cameras):
        addon("head_builder").show_photograph(scene, head, index)
        bpy.context.view_layer.update()
        size = scene.render.resolution_x, scene.render.resolution_y
        points = evaluated(head.object)
        seen = [world_to_camera_view(scene, camera, Vector(point)) for point in points]
        projected.append([(u * size[0], (1 - v) * size[1]) for u, v, _ in seen])
        resolutions.append([*size, scene.render.resolution_percentage])
        image = camera.data.background_images[0]
        backgrounds.append([camera.data.show_background_images, Path(image.image.filepath).name, *image.image.size])
    facts.update(projected=np.array(projected), resolutions=resolutions, backgrounds=backgrounds)
    facts["frame_after"] = scene.frame_current
    blink = head.object.data.shape_keys.key_blocks["eyeBlinkRight"]
    scene.frame_set(0)
    head.object.data.shape_keys.animation_data.action = None
    corrective = []
    for value in (0.0, 0.25, 0.5, 1.0):
        blink.value = value
        graph = bpy.context.evaluated_depsgraph_get()
        keys = head.object.evaluated_get(graph).data.shape_keys
        corrective.append(keys.key_blocks["eyeBlinkRightCorrective"].value)
    facts["corrective_values"] = corrective
    return facts


def build_twice(addon, arguments: dict) -> dict:
    """Two heads in one file that already has an object called Head."""
    import bpy

    empty_file()
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("Head", None))
    read = addon("result").read_result(Path(arguments["result"]))
    heads = [addon("head_builder").build_head(read, bpy.context.scene) for _ in range(2)]
    heads[1].object.data.shape_keys.key_blocks["jawOpen"].value = 0.875
    return {
        "names": [head.object.name for head in heads],
        "meshes": len({head.object.data.name for head in heads}),
        "jaw": [head.object.data.shape_keys.key_blocks["jawOpen"].value for head in heads],
        "actions": len({head.action.name for head in heads}),
        "followed": [
            head.object.data.shape_keys.animation_data.drivers[0].driver.variables[0].targets[0].id.name
            == head.object.data.shape_keys.name
            for head in heads
        ],
    }


def build_object(addon, arguments: dict) -> dict:
    """Seconds to build the object of a result that is read already."""
    empty_file()
    read = addon("result").read_result(Path(arguments["result"]))
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        head = addon("head_builder").build_object(read)
        seconds.append(time.perf_counter() - started)
    values = [block.value for block in head.data.shape_keys.key_blocks[1:]]
    return {"seconds": seconds, "vertices": len(read.vertices), "values": values}


def export(addon, arguments: dict) -> dict:
    """FBX, GLB and OBJ out of one head that has a modifier and a pose; then each into an empty file."""
    import bpy

    folder = Path(arguments["folder"])
    (head,) = built(addon, arguments["result"])
    head.object.modifiers.new("Smooth", "SUBSURF")
    head.object.location = (1.0, 2.0, 3.0)
    before = state(head.object)
    for name in ("fbx", "glb", "obj"):
        addon("exporting").export_head(head.object, folder / f"head.{name}")
    facts = {"unchanged": state(head.object) == before, "materials_before": len(head.object.material_slots)}
    importers = {
        "fbx": lambda path: bpy.ops.import_scene.fbx(filepath=path),
        "glb": lambda path: bpy.ops.import_scene.gltf(filepath=path),
        "obj": lambda path: bpy.ops.wm.obj_import(filepath=path),
    }
    files = {name: folder / f"head.{name}" for name in importers}
    files["plain_obj"] = Path(arguments["plain_obj"])
    for name, path in files.items():
        empty_file()
        importers[path.suffix[1:]](str(path))
        meshes = [item for item in bpy.data.objects if item.type == "MESH"]
        measured = mesh_facts(meshes[0])
        measured["objects"] = [item.type for item in bpy.data.objects]
        measured["images"] = [list(image.size) for image in bpy.data.images if image.source == "FILE"]
        facts.update({f"{name}_{key}": value for key, value in measured.items()})
    return facts


def state(head) -> list:
    """What an export must leave as it was."""
    import bpy

    names = sorted(item.name for item in bpy.data.objects) + sorted(item.name for item in bpy.data.meshes)
    values = [(block.name, round(block.value, 6)) for block in head.data.shape_keys.key_blocks]
    scenes = [item.name for item in bpy.data.scenes] + [bpy.context.scene.name, bpy.context.window.scene.name]
    slots = [slot.material.name for slot in head.material_slots] + sorted(item.name for item in bpy.data.materials)
    return [names, values, scenes, slots, head.name, head.data.name, list(head.location), len(head.modifiers)]


def save(addon, arguments: dict) -> dict:
    """A .blend, opened again from another place than where it was made."""
    import bpy

    folder = Path(arguments["folder"])
    (head,) = built(addon, arguments["result"])
    addon("workspace").prepare(bpy.context.scene, head)
    addon("exporting").save_blend(folder / "head.blend")
    (folder / "elsewhere").mkdir()
    moved = (folder / "head.blend").rename(folder / "elsewhere" / "head.blend")
    bpy.ops.wm.open_mainfile(filepath=str(moved))
    head = bpy.data.objects["Head"]
    facts = mesh_facts(head)
    pictures = [image for image in bpy.data.images if image.source == "FILE"]
    facts["pictures"] = {image.name: [image.packed_file is not None, image.filepath] for image in pictures}
    facts["picture_values"] = {image.name: float(np.mean(image.pixels[:])) for image in pictures}
    facts["cameras"] = [item.name for item in bpy.data.objects if item.type == "CAMERA"]
    facts["lights"] = len([item for item in bpy.data.objects if item.type == "LIGHT"])
    facts["scene"] = [bpy.context.scene.frame_current, bpy.context.scene.frame_start, bpy.context.scene.frame_end]
    facts["resolution"] = [bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y]
    facts["values_at_frames"] = [values_at(head, frame) for frame in (0, 1, 2)]
    facts["paths_used"] = sorted(
        {path for path in bpy.utils.blend_paths(absolute=False, packed=True, local=True) if not path.startswith("//")}
    )
    return facts


def portrait(addon, arguments: dict) -> dict:
    """A small portrait, and what it leaves in the file."""
    import bpy

    path = Path(arguments["folder"]) / "render.png"
    (head,) = built(addon, arguments["result"])
    count = lambda: [len(getattr(bpy.data, kind)) for kind in ("scenes", "objects", "lights", "cameras", "worlds")]  # noqa: E731
    before = count()
    addon("portrait").render_portrait(head.object, path, size=96, samples=4)
    image = bpy.data.images.load(str(path))
    pixels = np.array(image.pixels[:]).reshape(96, 96, 4)[::-1, :, :3]
    return {"pixels": pixels, "before": before, "after": count(), "scenes_of_head": len(head.object.users_scene)}


def operator(addon, arguments: dict) -> dict:
    """File > Import on a good and on a bad folder, and undo."""
    import bpy

    empty_file()
    ended = list(bpy.ops.lifemask.import_result(directory=arguments["result"]))
    facts = {"ended": ended, "objects": sorted(item.type for item in bpy.data.objects)}
    facts["active"] = bpy.context.view_layer.objects.active.name
    facts["has_camera"] = bpy.context.scene.camera is not None
    try:
        bpy.ops.lifemask.import_result(directory=arguments["bad"])
        facts["sentence"] = ""
    except RuntimeError as error:
        facts["sentence"] = str(error)
    facts["objects_after_failure"] = sorted(item.type for item in bpy.data.objects)
    return facts


def install(addon, arguments: dict) -> dict:
    """The built archive: installed, enabled, used, disabled. `addon` is None: nothing else is loaded."""
    import addon_utils
    import bpy

    package = "bl_ext.user_default.lifemask"
    bpy.ops.extensions.package_install_files(filepath=arguments["archive"], repo="user_default", enable_on_install=True)
    facts = {
        "enabled": package in bpy.context.preferences.addons,
        "has_operator": hasattr(bpy.types, "LIFEMASK_OT_import_result"),
    }
    empty_file()
    facts["ended"] = list(bpy.ops.lifemask.import_result(directory=arguments["result"]))
    facts["warnings"] = {key: str(value) for key, value in addon_utils._extensions_warnings_get().items()}
    facts["heavy"] = [name for name in ("torch", "cv2", "mediapipe", "scipy") if name in sys.modules]
    menu = bpy.types.TOPBAR_MT_file_import
    entries = lambda: len([f for f in getattr(menu.draw, "_draw_funcs", []) if "lifemask" in f.__module__])  # noqa: E731
    facts["menu_entries"] = [entries()]
    bpy.ops.preferences.addon_disable(module=package)
    facts["menu_entries"].append(entries())
    facts["enabled_after"] = package in bpy.context.preferences.addons
    facts["operator_after"] = hasattr(bpy.types, "LIFEMASK_OT_import_result")
    bpy.ops.preferences.addon_enable(module=package)
    facts["enabled_again"] = hasattr(bpy.types, "LIFEMASK_OT_import_result")
    return facts


SCENARIOS = {
    function.__name__: function
    for function in (build, build_twice, build_object, export, save, portrait, operator, install)
}


def main(scenarios: dict) -> None:
    scenario, arguments, output = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
    import bpy  # noqa: F401

    addon = None if scenario == "install" else load_addon()
    measured = scenarios[scenario](addon, arguments)
    arrays = {name: value for name, value in measured.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in measured.items() if name not in arrays}
    np.savez(output.with_suffix(".npz"), **arrays)
    output.with_suffix(".json").write_text(json.dumps(rest), encoding="utf-8")


def run(scenarios: dict) -> None:
    """Run the scenario that the command line names, and end the process."""
    code = 0
    try:
        main(scenarios)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run(SCENARIOS)
