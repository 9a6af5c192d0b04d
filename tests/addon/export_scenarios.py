"""Exports in a Blender interpreter: every preset out of a head in a difficult state, options, failures, operators.

Runs as blender_scenarios.py does, and judges nothing either.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import blender_scenarios as shared  # noqa: E402

KINDS = ("objects", "meshes", "scenes", "materials", "images", "cameras", "shape_keys", "actions", "collections",
         "armatures", "worlds", "lights")  # fmt: skip


FOR_A_FULL_DISK = ("fbx", "glb", "obj", "obj-keys", "usd", "blend")


def everything() -> dict:
    """The names of all there is in the file: what an export must leave as it was."""
    import bpy

    return {kind: sorted(item.name for item in getattr(bpy.data, kind)) for kind in KINDS}


def head_state(head) -> dict:
    """What an artist would notice on the head and in the window."""
    import bpy

    keys, window = head.data.shape_keys, bpy.context.window
    animation = keys.animation_data
    space = next(space for area in window.screen.areas for space in area.spaces if space.type == "VIEW_3D")
    window.view_layer.update()  # after a change of collections its objects may be gone, and reading them crashes
    return {
        "everything": everything(),
        "mode": head.mode,
        "names": [head.name, head.data.name],
        "keys": [[block.name, round(block.value, 6), block.mute] for block in keys.key_blocks],
        "active_key": head.active_shape_key_index,
        "pinned": head.show_only_shape_key,
        "modifiers": [modifier.name for modifier in head.modifiers],
        "materials": [slot.material.name for slot in head.material_slots],
        "matrix": [round(value, 6) for row in head.matrix_world for value in row],
        "drivers": len(animation.drivers),
        "action": animation.action.name if animation.action else "",
        "selected": sorted(item.name for item in window.view_layer.objects if item.select_get()),
        "active": window.view_layer.objects.active.name if window.view_layer.objects.active else "",
        "scene": [window.scene.name, window.view_layer.name, bpy.context.scene.name, window.scene.frame_current],
        "view": [space.region_3d.view_perspective, space.camera.name if space.camera else ""],
        "packed": [image.packed_file is not None for image in bpy.data.images],
        "picture_sizes": [list(image.size) for image in bpy.data.images],
        "properties": sorted(head.keys()),
    }


def make_difficult(head) -> None:
    """Modifiers of every kind, a pose, a parent, a name of one's own, an excluded collection, edit mode."""
    import bpy

    scene = bpy.context.scene
    bones = bpy.data.objects.new("Bones", bpy.data.armatures.new("Bones"))
    scene.collection.objects.link(bones)
    for kind in ("SUBSURF", "MIRROR", "DISPLACE", "SOLIDIFY", "ARMATURE", "DECIMATE"):
        head.object.modifiers.new(kind.title(), kind)
    head.object.modifiers["Armature"].object = bones
    head.object.name = "Tante Käthe"
    head.object.parent = bones
    bones.location = (5.0, 1.0, 0.0)
    head.object.location, head.object.scale = (1.0, 2.0, 3.0), (2.0, 2.0, 1.5)
    head.object.rotation_euler = (0.4, 0.2, 1.0)
    head.object.delta_location = (0.0, 0.0, 7.0)
    head.object.active_shape_key_index = 7
    head.object.show_only_shape_key = True
    head.object.hide_select = False
    scene.view_layers.new("Second")
    bpy.context.window.view_layer = scene.view_layers["Second"]
    layer = bpy.context.view_layer
    layer.objects.active = head.object
    head.object.select_set(True)
    space = next(space for area in bpy.context.window.screen.areas for space in area.spaces if space.type == "VIEW_3D")
    scene.camera = head.cameras[1]
    space.region_3d.view_perspective = "CAMERA"
    layer.update()


def presets(addon, arguments: dict) -> dict:
    """Every preset out of a difficult head in edit mode; then each file into an empty Blender."""
    import bpy

    folder = Path(arguments["folder"])
    (head,) = shared.built(addon, arguments["result"])
    make_difficult(head)
    bpy.ops.object.mode_set(mode="EDIT")
    before = head_state(head.object)
    facts = {"files": {}, "keys": {}, "warnings": {}}
    options = addon("export_presets")
    for name, preset in options.PRESETS.items():
        (folder / name).mkdir()
        path = folder / name / f"head{preset.suffix}"
        report = addon("exporting").export_head(head.object, path, options.ExportOptions(name))
        facts["files"][name] = [file.name for file in report.files]
        facts["keys"][name], facts["warnings"][name] = list(report.keys), list(report.warnings)
    facts["before"], facts["after"] = before, head_state(head.object)
    for name, preset in options.PRESETS.items():
        measured = imported(folder / name / f"head{preset.suffix}")
        facts.update({f"{name}_{key}": value for key, value in measured.items()})
    jaw = imported(folder / "obj-keys" / "head_jawOpen.obj")
    facts["jaw_vertices"] = jaw["vertices"]
    for name in ("fbx", "unreal", "unity", "metahuman"):
        facts[f"{name}_raw"] = raw_fbx(folder / name / "head.fbx")
    return facts


def imported(path: Path) -> dict:
    """What a file holds, as an empty Blender reads it."""
    import bpy

    shared.empty_file()
    if path.suffix == ".blend":
        bpy.ops.wm.open_mainfile(filepath=str(path))
    elif path.suffix == ".obj":
        bpy.ops.wm.obj_import(filepath=str(path))
    elif path.suffix == ".usd":
        bpy.ops.wm.usd_import(filepath=str(path))
    else:
        {".fbx": bpy.ops.import_scene.fbx, ".glb": bpy.ops.import_scene.gltf}[path.suffix](filepath=str(path))
    meshes = sorted((item for item in bpy.data.objects if item.type == "MESH"), key=lambda item: item.name)
    head = max(meshes, key=lambda item: len(item.data.vertices))
    facts = shared.mesh_facts(head)
    keys = head.data.shape_keys
    animation = keys.animation_data if keys else None
    facts.update(
        names=[item.name for item in meshes],
        vertex_counts=[len(item.data.vertices) for item in meshes],
        key_counts=[len(item.data.shape_keys.key_blocks) - 1 if item.data.shape_keys else 0 for item in meshes],
        groups=[group.name for group in head.vertex_groups],
        modifiers=[modifier.type for modifier in head.modifiers],
        types=sorted(item.type for item in bpy.data.objects),
        scenes=[scene.name for scene in bpy.data.scenes],
        images={image.name: list(image.size) for image in bpy.data.images if image.source == "FILE"},
        packed=[image.packed_file is not None for image in bpy.data.images if image.source == "FILE"],
        drivers=len(animation.drivers) if animation else 0,
        own_drivers=bool(animation)
        and all(
            target.id == keys
            for curve in animation.drivers
            for variable in curve.driver.variables
            for target in variable.targets
        ),
        has_action=bool(animation and animation.action),
        animated=bool(head.animation_data),
        backgrounds=[
            [item.name, [background.image.name for background in item.data.background_images]]
            for item in bpy.data.objects
            if item.type == "CAMERA"
        ],
        resolution=[bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y],
        properties=sorted(head.keys()),
    )
    facts["base_colours"] = sorted(
        {
            material.name
            for material in bpy.data.materials
            if material.node_tree
            and any(node.type == "TEX_IMAGE" and node.image and node.image.has_data or node.type == "TEX_IMAGE"
                    for node in material.node_tree.nodes)
        }
    )  # fmt: skip
    return facts


def raw_fbx(path: Path) -> dict:
    """What stands in an FBX file itself, without an importer that makes everything right."""
    from io_scene_fbx import parse_fbx

    root, _ = parse_fbx.parse(str(path))
    top = {element.id: element for element in root.elems}

    def properties(element) -> dict:
        table = next((child for child in element.elems if child.id == b"Properties70"), None)
        return {row.props[0].decode(): row.props[4:] for row in table.elems} if table else {}

    settings = properties(top[b"GlobalSettings"])
    geometry = [element for element in top[b"Objects"].elems if element.id == b"Geometry"]
    mesh = next(element for element in geometry if element.props[2] == b"Mesh")
    model = next(element for element in top[b"Objects"].elems if element.id == b"Model")
    place = properties(model)
    videos = [element for element in top[b"Objects"].elems if element.id == b"Video"]
    return {
        "settings": {name: settings[name][0] for name in settings if "Axis" in name or "Scale" in name},
        "vertices": np.array(next(e for e in mesh.elems if e.id == b"Vertices").props[0]).reshape(-1, 3).tolist(),
        "smoothing": any(element.id == b"LayerElementSmoothing" for element in mesh.elems),
        "name": model.props[1].split(b"\x00")[0].decode(),
        "shapes": [e.props[1].split(b"\x00")[0].decode() for e in geometry if e.props[2] == b"Shape"],
        "scaling": list(place.get("Lcl Scaling", [1.0, 1.0, 1.0])),
        "rotation": list(place.get("Lcl Rotation", [0.0, 0.0, 0.0])),
        "embedded": [bool(e.props[0]) for video in videos for e in video.elems if e.id == b"Content"],
    }


def options(addon, arguments: dict) -> dict:
    """Keys, parts, texture size and displacement, one after another out of one head."""
    import bpy

    folder = Path(arguments["folder"])
    exporting, Options = addon("exporting"), addon("export_presets").ExportOptions
    (head,) = shared.built(addon, arguments["result"])
    wanted = {
        "used.glb": Options("glb", keys="used"),
        "none.fbx": Options("unity", keys="none"),
        "separate.fbx": Options("fbx", parts="separate"),
        "separate.usd": Options("usd", parts="separate"),
        "small.glb": Options("glb", texture_size=16),
        "small.obj": Options("obj", texture_size=32),
        "small.blend": Options("blend", texture_size=32, keys="used"),
        "large.glb": Options("glb", texture_size=8192),
        "flat.fbx": Options("fbx", displacement="applied"),
    }
    mask = head.object.vertex_groups.new(name="My mask")  # a person's own group, which is no part
    mask.add(range(len(head.object.data.vertices)), 1.0, "REPLACE")
    before = everything()
    facts = {"keys": {}, "has_displacement": [exporting.has_displacement(head.object)]}
    for name, option in wanted.items():
        facts["keys"][name] = list(exporting.export_head(head.object, folder / name, option).keys)
    facts["same"] = everything() == before
    displace = head.object.modifiers.new("Displacement", "DISPLACE")
    displace.strength, displace.mid_level = 0.01, 0.0
    head.object.modifiers.new("Bend", "SIMPLE_DEFORM").angle = 1.0
    facts["has_displacement"].append(exporting.has_displacement(head.object))
    exporting.export_head(head.object, folder / "plain.fbx", Options("fbx"))
    exporting.export_head(head.object, folder / "displaced.fbx", Options("fbx", displacement="applied"))
    displace.show_viewport = False
    facts["has_displacement"].append(exporting.has_displacement(head.object))
    displace.show_viewport = True
    subdivide = head.object.modifiers.new("Subdivision", "SUBSURF")
    subdivide.levels = 1
    exporting.export_head(head.object, folder / "subdivided.fbx", Options("fbx", displacement="applied"))
    head.object.modifiers.clear()
    copy = head.object.copy()
    bpy.context.scene.collection.objects.link(copy)
    basis = head.object.data.copy()
    copy.data = basis
    copy.shape_key_clear()
    facts["no_keys"] = list(exporting.export_head(copy, folder / "keyless.glb").keys)
    for name in (*wanted, "plain.fbx", "displaced.fbx", "subdivided.fbx", "keyless.glb"):
        measured = imported(folder / name)
        facts.update({f"{name}_{key}": value for key, value in measured.items()})
    return facts


def states(addon, arguments: dict) -> dict:
    """A head that is hidden, excluded, in another scene, in local view, pinned, painted on, without its pictures."""
    import bpy

    folder = Path(arguments["folder"])
    export = addon("exporting").export_head
    keys, same, warnings = {}, {}, {}

    def attempt(name: str, item) -> None:
        before = head_state(item)
        report = export(item, folder / f"{name}.glb")
        keys[name], warnings[name] = len(report.keys), list(report.warnings)
        same[name] = head_state(item) == before

    (head,) = shared.built(addon, arguments["result"])
    layer = bpy.context.view_layer
    head.object.hide_set(True)
    attempt("hidden", head.object)
    head.object.hide_viewport = head.object.hide_select = head.object.hide_render = True
    attempt("hidden for good", head.object)
    layer.layer_collection.children[head.collection.name].exclude = True
    attempt("excluded", head.object)
    layer.layer_collection.children[head.collection.name].exclude = False
    head.object.hide_viewport = head.object.hide_select = head.object.hide_render = False
    head.object.hide_set(False)
    elsewhere = bpy.data.scenes.new("Elsewhere")
    bpy.context.scene.collection.children.unlink(head.collection)
    elsewhere.collection.children.link(head.collection)
    attempt("in another scene", head.object)
    bpy.context.window.scene = elsewhere
    layer = elsewhere.view_layers[0]
    layer.objects.active = head.object
    for mode in ("SCULPT", "WEIGHT_PAINT", "VERTEX_PAINT", "TEXTURE_PAINT"):
        bpy.ops.object.mode_set(mode=mode)
        attempt(mode.lower(), head.object)
    bpy.ops.object.mode_set(mode="OBJECT")
    block = head.object.data.shape_keys.key_blocks["jawOpen"]
    block.mute, block.slider_max = True, 0.5
    head.object.show_only_shape_key = True
    attempt("pinned and muted", head.object)
    albedo = next(image for image in bpy.data.images if image.name.startswith("albedo"))
    albedo.pixels.foreach_set(np.tile(np.array([1, 0, 0, 1], np.float32), len(albedo.pixels) // 4))
    attempt("painted", head.object)
    painted = albedo.is_dirty
    albedo.reload()
    albedo.filepath = str(folder / "gone.png")
    attempt("without its picture", head.object)
    shared.empty_file()
    bpy.ops.import_scene.gltf(filepath=str(folder / "painted.glb"))
    image = next(image for image in bpy.data.images if image.name.startswith("albedo"))
    facts = {"painted": painted, "paint": list(image.pixels[:4])}
    shared.empty_file()
    return facts | {"keys": keys, "same": same, "warnings": warnings}


def failures(addon, arguments: dict) -> dict:
    """Targets that cannot be written; what the sentence says and what is left."""
    import bpy  # noqa: F401

    folder, full = Path(arguments["folder"]), arguments.get("full")
    exporting, Options = addon("exporting"), addon("export_presets").ExportOptions
    (head,) = shared.built(addon, arguments["result"])
    (folder / "a file").write_text("older")
    (folder / "folder.fbx").mkdir()
    before = everything()
    targets = {
        "below a file": folder / "a file" / "head.fbx",
        "no folder": folder / "nowhere" / "head.fbx",
        "a folder": folder / "folder.fbx",
        "below a device": Path("/dev/full/head.fbx"),
        "long name": folder / ("x" * 300 + ".fbx"),
        "other ending": folder / "head.txt",
        "wrong ending": folder / "head.glb",
    }
    sentences = {}
    for name, path in targets.items():
        options = Options("unreal") if name == "wrong ending" else None
        sentences[name] = sentence_of(exporting, head.object, path, options)
    if full:
        by_preset = addon("export_presets").PRESETS
        paths = {name: Path(full) / f"{name}{by_preset[name].suffix}" for name in FOR_A_FULL_DISK}
        for path in paths.values():
            path.write_text("older")
        with (Path(full) / "filler").open("wb") as filler:
            filler.write(bytes(shutil.disk_usage(full).free - 8192))
        for name, path in paths.items():
            sentences[f"full {name}"] = sentence_of(exporting, head.object, path, Options(name))
            sentences[f"left {name}"] = path.read_text()
        sentences["left in full"] = sorted(item.name for item in Path(full).iterdir())
    after = everything()
    head.object.data.clear_geometry()
    sentences["no faces"] = sentence_of(exporting, head.object, folder / "empty.fbx", None)
    return {
        "sentences": sentences,
        "left": sorted(item.name for item in folder.iterdir()),
        "older": (folder / "a file").read_text(),
        "before": before,
        "after": after,
    }


def sentence_of(exporting, head, path: Path, options) -> str:
    try:
        exporting.export_head(head, path, options)
    except exporting.ExportError as error:
        return str(error)
    return "no error"


def operators(addon, arguments: dict) -> dict:
    """The two operators as a script calls them, and what the asset library then offers."""
    import bpy

    folder = Path(arguments["folder"])
    library = folder / "library"
    library.mkdir()
    (library / "blender_assets.cats.txt").write_text(
        "VERSION 1\n\n00000000-0000-0000-0000-000000000001:Chairs:Chairs\n"
    )
    facts = {"poll": [bpy.ops.lifemask.export_head.poll(), bpy.ops.lifemask.save_as_asset.poll()]}
    heads = shared.built(addon, arguments["result"], times=2)
    facts["poll"] += [bpy.ops.lifemask.export_head.poll(), bpy.ops.lifemask.save_as_asset.poll()]

    def attempt(operator, **values) -> str:
        try:
            return ",".join(operator(**values))
        except RuntimeError as error:
            return str(error)

    export, save = bpy.ops.lifemask.export_head, bpy.ops.lifemask.save_as_asset
    bpy.context.view_layer.objects.active = None
    facts["which"] = attempt(export, filepath=str(folder / "which.fbx"))
    facts["wrong"] = attempt(export, filepath=str(folder / "which.fbx"), head="Nobody")
    facts["named"] = attempt(export, filepath=str(folder / "named.glb"), head=heads[1].object.name)
    bpy.context.view_layer.objects.active = heads[0].cameras[0]
    facts["by camera"] = attempt(export, filepath=str(folder / "camera.fbx"), preset="unreal", keys="used")
    facts["bad place"] = attempt(export, filepath="/dev/full/head.fbx")
    bpy.context.view_layer.objects.active = heads[0].object
    before = everything()
    facts["to library"] = attempt(save, directory=str(library), author="Käthe")
    facts["again"] = attempt(save, directory=str(library))
    facts["bad library"] = attempt(save, directory=str(folder / "nowhere"))
    facts["changed"] = {
        kind: [sorted(set(now) - set(before[kind])), sorted(set(before[kind]) - set(now))]
        for kind, now in everything().items()
        if now != before[kind]
    }
    facts["marked"] = [heads[0].object.asset_data is not None]
    facts["in file"] = attempt(save)
    about = heads[0].object.asset_data
    facts["marked"].append(about is not None)
    facts["about"] = [about.description, about.license, sorted(tag.name for tag in about.tags)]
    facts["library"] = sorted(str(item.relative_to(library)) for item in library.rglob("*"))
    facts["catalogues"] = (library / "blender_assets.cats.txt").read_text()
    facts["notes"] = {name: json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("camera.fbx",)}
    shared.empty_file()
    with bpy.data.libraries.load(str(library / "Lifemask" / "Head.blend"), assets_only=True) as (there, wanted):
        facts["offered"] = list(there.objects)
        wanted.objects = list(there.objects)
    (item,) = wanted.objects
    pixels = np.array(item.preview.image_pixels_float[:])
    facts["asset"] = [len(item.data.shape_keys.key_blocks) - 1, item.asset_data.author, item.asset_data.catalog_id]
    facts["asset_place"] = [round(value, 6) for value in item.matrix_basis.translation]
    facts["preview"] = [list(item.preview.image_size), float(pixels.std())]
    facts["asset_pictures"] = [image.packed_file is not None for image in bpy.data.images if image.source == "FILE"]
    shared.empty_file()
    path = str(library / "Lifemask" / "Head.blend")
    with bpy.data.libraries.load(path, link=True, assets_only=True) as (there, wanted):
        wanted.objects = list(there.objects)
    bpy.context.scene.collection.objects.link(wanted.objects[0])
    bpy.context.view_layer.objects.active = wanted.objects[0]
    facts["linked"] = attempt(save)
    return facts


def dialog(addon, arguments: dict) -> dict:
    """The file browser's side: the ending follows the preset, texts are drawn, displacement only where there is one."""
    import bpy

    module = addon("operators.export_head")
    (head,) = shared.built(addon, arguments["result"])
    bpy.context.view_layer.objects.active = head.object
    drawn: list[str] = []

    class Layout:
        """Records which properties are drawn."""

        use_property_split = use_property_decorate = active = alert = True
        scale_y = 1.0

        def prop(self, _data, name, **_):
            drawn.append(name)

        def label(self, text="", **_):
            drawn.append("text " + text)

        def column(self, **_):
            return self

        row = column

    class Chosen:
        """An operator's properties, without a window to open it in."""

        layout, head = Layout(), ""

        def __init__(self, preset):
            self.preset, self.filepath = preset, ""

    facts = {"drawn": {}, "paths": {}}
    for name in addon("export_presets").PRESETS:
        drawn.clear()
        module.LIFEMASK_OT_export_head.draw(Chosen(name), bpy.context)
        facts["drawn"][name] = list(drawn)
        for path in ("/a/head.fbx", "/a/my head.v2", "/a/"):
            facts["paths"][f"{name} {path}"] = module.with_suffix(path, addon("export_presets").PRESETS[name].suffix)
    head.object.modifiers.new("Displacement", "DISPLACE")
    drawn.clear()
    module.LIFEMASK_OT_export_head.draw(Chosen("fbx"), bpy.context)
    facts["drawn"]["displaced"] = list(drawn)
    return facts


SCENARIOS = {function.__name__: function for function in (presets, options, states, failures, operators, dialog)}

if __name__ == "__main__":
    shared.run(SCENARIOS)
