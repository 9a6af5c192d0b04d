"""The panel, its list, its sliders and its thumbnails in a Blender interpreter. Judges nothing: see test_panel.py.

Runs as blender_scenarios.py does.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import blender_scenarios as shared  # noqa: E402
from recording_layout import RecordingLayout  # noqa: E402

PANELS = ("lifemask", "head", "expression", "export", "batch")
LONG_FAILURE = "No face was found in two people.jpg. The face should be at least 40 pixels wide and not turned away."


def draw_tab() -> dict:
    """What the whole tab shows now, and which of its panels are there."""
    import bpy

    layout, there = RecordingLayout(), []
    for name in PANELS:
        panel = getattr(bpy.types, f"LIFEMASK_PT_{name}")
        if not hasattr(panel, "poll") or panel.poll(bpy.context):
            there.append(name)
            panel.draw(SimpleNamespace(layout=layout), bpy.context)
    return {"panels": there, **layout.record.facts()}


def put(session, **attributes) -> None:
    """Give the session these attributes and nothing else to show."""
    session.setup = session.work = session.error = session.done = None
    session.is_set_up = True
    for name, value in attributes.items():
        setattr(session, name, value)


def recorded_head(addon, result: str, head_id: str = "ada"):
    """A head in an empty file that knows its photographs, as the panel makes them; its action is not assigned."""
    (head,) = shared.built(addon, result)
    keys = head.object.data.shape_keys
    keys.animation_data.action = None
    record = addon("head_record")
    photographs = tuple(
        record.RecordedPhotograph(f"/photographs/{name}.jpg", None, {}, 0.01, values)
        for name, values in (("first", {"eyeBlinkLeft": 0.25, "jawOpen": 0.5}), ("second", {"tongueOut": 0.75}))
    )
    names = tuple(block.name for block in keys.key_blocks)
    record.write_record(
        head.object,
        record.HeadRecord(id=head_id, photographs=photographs, licence_sentence="Anyone may use it.", keys=names),
    )
    return head.object


def choose(thing) -> None:
    import bpy

    bpy.context.view_layer.objects.active = thing


def failure(sentence: str, action: str = "", label: str = "", log: str = "", command: str | None = None):
    fix = SimpleNamespace(action=action, label=label, command=command) if action else None
    return SimpleNamespace(code="made-up", sentence=sentence, fix=fix, log=log, kind="photo")


def states(addon, arguments: dict) -> dict:
    """Every face of the panel."""
    import bpy

    module = addon("session")
    session, drawn = module.session, {}
    head = recorded_head(addon, arguments["result"])
    choose(None)
    put(session, is_set_up=False)
    drawn["not set up"] = draw_tab()
    chosen = addon("preferences").preferences()
    chosen.existing_environment = arguments["folder"]
    put(session, is_set_up=False)
    drawn["existing environment"] = draw_tab()
    chosen.existing_environment = ""
    put(session, setup=module.SetupProgress("Installing PyTorch: torch", 0.37, "torch", 112_000_000, 1_900_000_000))
    drawn["setting up"] = draw_tab()
    put(session)
    drawn["empty"] = draw_tab()
    pictures = [Path(arguments["folder"]) / name for name in ("alone.jpg", "several people.png", "nobody.jpg")]
    addon("photograph_list").add(bpy.context.scene, pictures)
    drawn["ready"] = draw_tab()
    settings = bpy.context.scene.lifemask
    settings.method = "deep-fusion"
    drawn["several for deep fusion"] = draw_tab()
    others = [line.filepath for line in settings.photographs][1:]
    while len(settings.photographs) > 1:
        settings.photographs.remove(1)
    drawn["one for deep fusion"] = draw_tab()
    for path in others:
        settings.photographs.add().filepath = path
    settings.property_unset("method")
    people = tuple(module.Face(number, (0.1 * number, 0.2, 0.2, 0.3), number < 3) for number in (1, 2, 3))
    for picture, faces in zip(pictures, (people[:1], people, ()), strict=True):
        addon("photographed_faces").remember(module.FoundFaces(picture, faces, 640, 480))
    bpy.context.scene.lifemask.active_photograph = 1
    drawn["several people"] = draw_tab()
    bpy.ops.lifemask.pick_face(photograph=1, face=2)
    drawn["second person"] = draw_tab()
    work = module.Work("reconstruct", "fitting the head", 0.42)
    work.started -= 65.0
    put(session, work=work)
    drawn["working"] = draw_tab()
    work.cancelling = True
    drawn["cancelling"] = draw_tab()
    done = module.Done("Ada was made from 2 photographs.", "Ada", "ada", 0.016, ("The chin is hidden.",), 7.0)
    put(session, done=done)
    drawn["done"] = draw_tab()
    choose(head)
    drawn["done and selected"] = draw_tab()
    put(session, done=module.replace(done, waiting=True, head_id="", reason="The scene is gone."))
    drawn["waiting"] = draw_tab()
    batch = module.Done("9 of 10 heads were made.", kind="batch", folder=Path(arguments["folder"]))
    put(session, done=batch)
    drawn["batch done"] = draw_tab()
    for action, command in FIXES.items():
        error = failure(LONG_FAILURE, action, f"Mend by {action}", arguments["folder"], command)
        put(session, error=error)
        drawn[f"error {action}"] = draw_tab()
    put(session, error=failure(LONG_FAILURE))
    drawn["error"] = draw_tab()
    put(session)
    drawn["head"] = draw_tab()
    head.shape_key_remove(head.data.shape_keys.key_blocks["tongueOut"])
    head.shape_key_remove(head.data.shape_keys.key_blocks["eyeBlinkRight"])
    drawn["head without keys"] = draw_tab()
    for menu in ("LIFEMASK_MT_more", "LIFEMASK_MT_head", "LIFEMASK_MT_mirror", "LIFEMASK_MT_photographs"):
        layout = RecordingLayout()
        getattr(bpy.types, menu).draw(SimpleNamespace(layout=layout), bpy.context)
        drawn[menu] = layout.record.facts()
    return {"drawn": drawn}


def face_models(addon, arguments: dict) -> dict:
    """The list in the preferences in every state, and the panel with models that forbid something."""
    import bpy

    module, assets, drawn = addon("session"), addon("face_models"), {}
    session = module.session
    shared.empty_file()
    chosen = addon("preferences").preferences()

    def draw(name: str, **attributes) -> None:
        put(session, **attributes)
        session.kind = "add"
        layout = RecordingLayout()
        type(chosen).draw(SimpleNamespace(layout=layout, bl_rna=chosen.bl_rna, face_model_details=""), bpy.context)
        drawn[name] = layout.record.facts()

    draw("not set up", is_set_up=False)
    session.assets = assets.assets_from(FAKE_ASSETS)
    session.face_models = assets.models_among(session.assets)
    draw("list")
    layout = RecordingLayout()
    addon("panels.face_models").draw(layout, bpy.context, "ict")
    drawn["details"] = layout.record.facts()
    session.assets = assets.assets_from(
        [{**entry, "outdated": entry["name"] == "flame2023"} for entry in FAKE_ASSETS[:2]]
    )
    session.assets += assets.assets_from([{**FAKE_ASSETS[2], "installed": True, "outdated": True}])
    draw("outdated")
    session.assets = assets.assets_from(FAKE_ASSETS)
    draw("adding", work=module.Work("add", "laying the open head over it", 0.5))
    draw("at work elsewhere", work=module.Work("batch", "making heads", 0.5))
    draw("failed", error=failure("This is not FLAME.", log="/logs/backend.log"))
    session.asset_failure = failure("The packages are damaged.", log="/logs/backend.log")
    draw("no list")
    session.asset_failure, session.news = None, "FLAME 2023 is installed."
    draw("news")
    session.news = ""
    tooltips = {
        name: getattr(bpy.types, f"LIFEMASK_OT_{name}").description(bpy.context, SimpleNamespace(asset="ict"))
        for name in ("face_model_details", "open_owners_page")
    }
    dialogue = SimpleNamespace(layout=RecordingLayout(), asset="ict")
    bpy.types.LIFEMASK_OT_download_face_model.draw(dialogue, bpy.context)
    drawn["download"] = dialogue.layout.record.facts()
    put(session)
    addon("photograph_list").add(bpy.context.scene, [Path(arguments["folder"]) / "alone.jpg"])
    settings = bpy.context.scene.lifemask
    settings.face_model = "flame2023"
    drawn["panel, not for sale"] = draw_tab()
    session.settings = module.replace(session.settings, for_sale=True)
    drawn["panel, for sale"] = draw_tab()
    settings.face_model_name = "bfm2009"
    drawn["panel, not installed"] = draw_tab()
    models = session.face_models
    session.face_models = tuple(module.replace(model, outdated=not model.is_built_in) for model in models)
    settings.face_model_name = "flame2023"
    drawn["panel, outdated"] = draw_tab()
    session.face_models = models
    settings.face_model_name = "bfm2009"
    chosen = SimpleNamespace(
        layout=RecordingLayout(), directory="/folder", files=[SimpleNamespace(name="a.jpg")], filepath=""
    )
    chosen.bl_rna = bpy.ops.lifemask.drop_photographs.get_rna_type()
    addon("operators.drop").LIFEMASK_OT_drop_photographs.draw(chosen, bpy.context)
    drawn["drop, not installed"] = chosen.layout.record.facts()
    return {"drawn": drawn, "tooltips": tooltips}


FAKE_ASSETS = [
    {"name": "open_head", "label": "Open Head", "kind": "face_model", "installed": True, "sentence": "Free.",
     "commercial": True, "licence": "CC0-1.0", "size": 3_000_000},
    {"name": "flame2023", "label": "FLAME 2023", "kind": "face_model", "installed": True, "licence": "FLAME",
     "sentence": "For research only.", "commercial": False, "size": 104_857_600, "sha256": "5f" * 32},
    {"name": "ict", "label": "ICT-FaceKit", "kind": "face_model", "installed": False, "licence": "MIT",
     "sentence": "Anyone may sell it.", "commercial": True, "size": 430_000_000, "sha256": "ab" * 32,
     "source": "https://github.com/USC-ICT/ICT-FaceKit.", "fetchable": True},
    {"name": "bfm2009", "label": "Basel Face Model 2009", "kind": "face_model", "installed": False, "licence": "BFM",
     "sentence": "For those who signed.", "commercial": False, "size": None, "source": "at https://faces.dmi.unibas.ch"},
    {"name": "face_landmarker", "label": "MediaPipe Face Landmarker", "kind": "detector", "installed": True,
     "licence": "Apache-2.0", "sentence": "Anyone may use it.", "commercial": True, "size": 3_758_596},
]  # fmt: skip

FIXES = {
    "choose-another-photo": None,
    "retry": None,
    "repair-environment": None,
    "set-up": None,
    "choose-folder": None,
    "choose-face-model": None,
    "add-face-model": None,
    "open-log": None,
    "use-cpu": None,
    "allow-online-access": None,
    "install-python": None,
    "free-space": None,
    "install-library": "sudo apt install libgl1",
}


def photographs(addon, arguments: dict) -> dict:
    """The list by its operators."""
    import bpy

    shared.empty_file()
    settings = bpy.context.scene.lifemask
    lines = lambda: [Path(line.filepath).name for line in settings.photographs]  # noqa: E731
    names = ["ä b.JPG", "c.png", "notes.txt", "d.webp"]
    facts = {"added": [], "refused": ""}
    bpy.ops.lifemask.add_photographs(directory="/folder", files=[{"name": name} for name in names])
    bpy.ops.lifemask.add_photographs(directory="/folder", files=[{"name": "c.png"}])
    facts["added"], facts["active"] = lines(), settings.active_photograph
    facts["chosen"] = [[str(path), face] for path, face in addon("properties").chosen_photographs(bpy.context.scene)]
    settings.active_photograph = 0
    bpy.ops.lifemask.move_photograph(direction="UP")
    bpy.ops.lifemask.move_photograph(direction="DOWN")
    facts["moved"], facts["active_after_move"] = lines(), settings.active_photograph
    bpy.ops.lifemask.remove_photograph()
    facts["removed"] = lines()
    settings.active_photograph = len(settings.photographs) - 1
    bpy.ops.lifemask.remove_photograph()
    facts["active_after_last"] = settings.active_photograph
    bpy.ops.lifemask.clear_photographs()
    facts["cleared"] = lines()
    facts["can_remove_from_nothing"] = bpy.ops.lifemask.remove_photograph.poll()
    try:
        bpy.ops.lifemask.pick_face(photograph=3, face=1)
    except RuntimeError as error:
        facts["refused"] = str(error)
    bpy.ops.lifemask.drop_photographs(directory="/folder", files=[{"name": "c.png"}, {"name": "d.webp"}], start=False)
    facts["dropped"] = lines()
    bpy.ops.lifemask.drop_photographs(filepath="/folder/e.jpg", start=False)
    facts["dropped_alone"] = lines()
    bpy.ops.lifemask.drop_photographs(filepath="/folder/f.jpg", start=False, keep=True)
    facts["dropped_besides"] = lines()
    handler = bpy.types.LIFEMASK_FH_photographs
    facts["extensions"], facts["takes"] = handler.bl_file_extensions, handler.bl_import_operator
    areas = {area.type: area for area in bpy.context.window.screen.areas}
    poll = lambda kind: bool(handler.poll_drop(SimpleNamespace(area=areas.get(kind))))  # noqa: E731
    facts["drop_in"] = {kind: poll(kind) for kind in ("VIEW_3D", "OUTLINER")}
    layout = RecordingLayout()
    chosen = SimpleNamespace(
        layout=layout, directory="/folder", files=[SimpleNamespace(name=f"{n}.jpg") for n in range(8)], filepath=""
    )
    chosen.bl_rna = bpy.ops.lifemask.drop_photographs.get_rna_type()
    addon("session").session.is_set_up = True
    addon("operators.drop").LIFEMASK_OT_drop_photographs.draw(chosen, bpy.context)
    facts["popup"] = layout.record.facts()
    return facts


def sliders(addon, arguments: dict) -> dict:
    """Values of the keys after each button."""
    import bpy

    head = recorded_head(addon, arguments["result"])
    choose(head)
    blocks = head.data.shape_keys.key_blocks
    facts = {"polls": [bpy.ops.lifemask.mirror_keys.poll()], "values": {}}

    def start() -> None:
        for block in blocks[1:]:
            block.value = 0.0
        for name, value in START.items():
            blocks[name].value = value

    def after(name: str, button, **properties) -> None:
        start()
        button(**properties)
        facts["values"][name] = {block.name: round(block.value, 4) for block in blocks[1:] if block.value}

    after("left to right", bpy.ops.lifemask.mirror_keys, direction="LEFT_TO_RIGHT", region="all")
    after("right to left", bpy.ops.lifemask.mirror_keys, direction="RIGHT_TO_LEFT", region="all")
    after("swap", bpy.ops.lifemask.mirror_keys, direction="SWAP", region="all")
    after("mirror eyes", bpy.ops.lifemask.mirror_keys, direction="LEFT_TO_RIGHT", region="eye")
    after("reset mouth", bpy.ops.lifemask.reset_keys, region="mouth")
    after("reset", bpy.ops.lifemask.reset_keys, region="all")
    after("neutral", bpy.ops.lifemask.set_neutral)
    after("second photograph", bpy.ops.lifemask.set_expression, photograph=1)
    after("off", bpy.ops.lifemask.toggle_key, key="eyeBlinkLeft")
    after("on", bpy.ops.lifemask.toggle_key, key="noseSneerRight")
    drivers = len(head.data.shape_keys.animation_data.drivers)
    facts["drivers_kept"] = drivers == 2
    try:
        bpy.ops.lifemask.set_expression(photograph=2)
    except RuntimeError as error:
        facts["sentence"] = str(error)
    facts["action_before"] = head.data.shape_keys.animation_data.action is not None
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    start()
    bpy.ops.lifemask.mirror_keys(direction="LEFT_TO_RIGHT", region="eye")
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = False
    facts["keyed"] = sorted(addon("shape_keys")._name_of_path(head.data.shape_keys)[curve.data_path]
                            for curve in addon("shape_keys")._curves(head.data.shape_keys.animation_data))  # fmt: skip
    head.data.shape_keys.animation_data.action = None
    head.shape_key_remove(blocks["eyeBlinkRight"])
    after("without the right blink", bpy.ops.lifemask.mirror_keys, direction="LEFT_TO_RIGHT", region="all")
    other = bpy.data.objects.new("Other", bpy.data.meshes.new("Other"))
    bpy.context.scene.collection.objects.link(other)
    choose(other)
    facts["polls"].append(bpy.ops.lifemask.mirror_keys.poll())
    return facts


START = {"eyeBlinkLeft": 0.5, "mouthSmileLeft": 0.25, "mouthSmileRight": 0.75, "jawOpen": 0.625, "jawLeft": 0.125}


def camera_view(addon, arguments: dict) -> dict:
    """Which camera the scene and the viewports look through."""
    import bpy

    head = recorded_head(addon, arguments["result"])
    choose(head)
    copy = bpy.data.objects["Head photo_2"].copy()
    bpy.context.scene.collection.objects.link(copy)
    bpy.ops.lifemask.show_camera_view(photograph=1)
    bpy.data.objects.remove(copy)
    scene = bpy.context.scene
    facts = {"camera": scene.camera.name, "size": [scene.render.resolution_x, scene.render.resolution_y]}
    views = [space for area in bpy.context.window.screen.areas for space in area.spaces if space.type == "VIEW_3D"]
    facts["views"] = [space.region_3d.view_perspective for space in views]
    facts["colours"] = [space.shading.color_type for space in views]
    facts["cameras_shown"] = [item.name for item in bpy.data.objects if item.type == "CAMERA" and item.visible_get()]
    away = bpy.data.collections.new("Switched off")
    scene.collection.children.link(away)
    for collection in scene.camera.users_collection:
        collection.objects.unlink(scene.camera)
    away.objects.link(scene.camera)
    bpy.context.view_layer.layer_collection.children[away.name].exclude = True
    facts["beside_one_that_is_switched_off"] = list(bpy.ops.lifemask.show_camera_view(photograph=0))
    choose(scene.camera)
    facts["camera_counts_as_head"] = bpy.ops.lifemask.show_camera_view.poll()
    choose(None)
    head.hide_set(True)
    bpy.ops.lifemask.select_head(head_id="ada")
    facts["selected"] = [bpy.context.view_layer.objects.active.name, head.select_get()]
    choose(head)
    for camera in [item for item in bpy.data.objects if item.type == "CAMERA"]:
        bpy.data.objects.remove(camera)
    sentences = []
    for button, properties in (
        (bpy.ops.lifemask.show_camera_view, {"photograph": 0}),
        (bpy.ops.lifemask.select_head, {"head_id": "somebody else"}),
        (bpy.ops.lifemask.open_log, {"filepath": "/nowhere/at all.log"}),
    ):
        try:
            button(**properties)
            sentences.append("")
        except RuntimeError as error:
            sentences.append(str(error))
    facts["sentences"] = sentences
    return facts


def pictures(addon, arguments: dict) -> dict:
    """Thumbnails as their pixels, of files in the folder, upright."""
    import bpy.utils.previews

    module = addon("thumbnails")
    facts = {"orientations": {}}
    previews = bpy.utils.previews.new()
    for path in sorted(Path(arguments["folder"]).glob("*.jpg")):
        stored = module.pixels_of(previews.load(path.name, str(path), "IMAGE"))
        facts["orientations"][path.name] = module.orientation(path)
        facts[f"upright_{path.stem}"] = np.ascontiguousarray(
            module.UPRIGHT.get(module.orientation(path), lambda same: same)(stored)
        )
    bpy.utils.previews.remove(previews)
    grid = np.arange(40 * 60, dtype=np.float32).reshape(40, 60)[..., None] * np.ones(4, np.float32)
    facts["middle"] = module.cut_square(grid, None)[..., 0]
    facts["face"] = module.cut_square(grid, (0.5, 0.25, 0.2, 0.3))[..., 0]
    facts["corner"] = module.cut_square(grid, (0.9, 0.9, 0.1, 0.1))[..., 0]
    facts["shrunk"] = module.shrunk(grid[:, :40], 8)[..., 0]
    facts["grown"] = module.shrunk(grid[:4, :4], 8)[..., 0]
    icons = module.Thumbnails()
    plain = Path(arguments["folder"]) / "plain.jpg"
    icons._waiting["plain"] = (plain, None)
    icons.load_next()
    made = icons._previews["plain"]
    facts["sizes"] = [list(made.image_size), list(made.icon_size)]
    facts["icon_mean"] = float(np.mean(made.icon_pixels_float[:]))
    icons.clear()
    broken = Path(arguments["folder"]) / "broken.png"
    facts["in_background"] = icons.icon_of(broken)
    icons._waiting["broken"] = (broken, None)
    icons._waiting["gone"] = (broken.with_name("gone.jpg"), None)
    facts["more"] = [icons.load_next(), icons.load_next()]
    facts["icons"] = dict(icons._icons)
    icons.clear()
    return facts


def gone(addon, arguments: dict) -> dict:
    """What is left of the panel after the add-on is disabled, and that it comes back."""
    import bpy

    package = addon("session").__name__.rpartition(".addon")[0]
    ours = lambda: sorted(name for name in dir(bpy.types) if name.startswith("LIFEMASK_"))  # noqa: E731
    menus = lambda: sum(  # noqa: E731
        "lifemask" in function.__module__
        for menu in (bpy.types.TOPBAR_MT_file_import, bpy.types.VIEW3D_MT_object, bpy.types.TOPBAR_MT_file_export)
        for function in getattr(menu.draw, "_draw_funcs", [])
    )
    facts = {"before": [ours(), menus(), hasattr(bpy.types.Scene, "lifemask")]}
    bpy.ops.preferences.addon_disable(module=package)
    facts["disabled"] = [ours(), menus(), hasattr(bpy.types.Scene, "lifemask")]
    bpy.ops.preferences.addon_enable(module=package)
    facts["again"] = [ours(), menus(), hasattr(bpy.types.Scene, "lifemask")]
    import addon_utils  # as at the start of Blender, where nothing may ask which file is open

    bpy.context.preferences.addons[package].preferences.folder = "//Lifemask"
    addon_utils.disable(package)
    addon_utils.enable(package)
    facts["with a relative folder"] = addon_utils.check(package)[1]
    return json.loads(json.dumps(facts))


SCENARIOS = {
    function.__name__: function for function in (states, face_models, photographs, sliders, camera_view, pictures, gone)
}

if __name__ == "__main__":
    shared.run(SCENARIOS)
