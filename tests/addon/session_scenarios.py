"""Heads made, updated and kept by the add-on in a Blender interpreter, with a fake backend. Judges nothing.

Runs as blender_scenarios.py does. The arguments name a result folder to hand out (`result`), one of the same head with
other figures (`other`), and a folder to work in (`folder`).
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import blender_scenarios as shared  # noqa: E402

FAKE = Path(__file__).resolve().parents[1] / "fake_backend.py"


def use_fake(addon, folder: Path, **told):
    """Let the session talk to the fake backend from now on. Returns the session."""
    module = addon("session")
    command = (sys.executable, str(FAKE), "--parent-pid", str(os.getpid()))
    variables = {**os.environ, "LIFEMASK_FAKE": json.dumps(told)}
    module.session.shut_down()
    module.session.find_program = lambda settings: module.Program(command, variables)
    module.session.configure(module.Settings(root=folder / "home"))
    return module.session


def photographs(folder: Path, *names: str) -> list[dict]:
    for name in names:
        (folder / name).write_bytes(b"a photograph")
    return [{"name": name} for name in names]


def start_and_wait(session) -> None:
    """What a timer does in a window, without bringing the result into the file."""
    while session.is_busy:
        session.tick()
        time.sleep(0.01)


def head_facts(addon, head) -> dict:
    record = addon("head_record").record_of(head)
    keys = head.data.shape_keys
    return {
        "name": head.name,
        "id": record.id if record else "",
        "paths": [photograph.path for photograph in record.photographs] if record else [],
        "keys": [block.name for block in keys.key_blocks] if keys else [],
        "values": {block.name: block.value for block in keys.key_blocks if block.value} if keys else {},
        "location": list(head.location),
        "modifiers": [modifier.type for modifier in head.modifiers],
    }


def create(addon, arguments: dict) -> dict:
    """Headless, through the operator: the head, its record, its pictures without the job folder, its sliders."""
    import bpy

    folder = Path(arguments["folder"])
    shared.empty_file()
    session = use_fake(addon, folder, result=arguments["result"], seconds=0.05)
    scene = bpy.context.scene
    scene.cursor.location = (1.0, 2.0, 3.0)
    ended = bpy.ops.lifemask.reconstruct(directory=str(folder), files=photographs(folder, "Zoë.jpg", "b.jpg"))
    head = bpy.context.view_layer.objects.active
    facts = {
        "ended": list(ended),
        "head": head_facts(addon, head),
        "done": [session.done.waiting, session.done.head_id],
    }
    record = addon("head_record").record_of(head)
    facts["record"] = {
        "licence": record.licence, "sentence": record.licence_sentence, "commercial": record.commercial,
        "warnings": list(record.warnings), "values": [dict(each.values) for each in record.photographs],
        "closure": [dict(each.closure) for each in record.photographs], "options": dict(record.options),
    }  # fmt: skip
    keys = head.data.shape_keys
    action = keys["lifemask_photographs"]
    facts["action"] = [keys.animation_data.action is None, action.use_fake_user]
    keys.key_blocks["jawOpen"].value = 0.75
    scene.frame_set(5)
    facts["jaw_after_frame_change"] = keys.key_blocks["jawOpen"].value
    facts["selected"] = [thing.name for thing in bpy.context.selected_objects]
    shutil.rmtree(folder / "home")
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "saved.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(folder / "saved.blend"))
    head = addon("head_record").find_head(record.id)
    images = [image for image in bpy.data.images if image.type == "IMAGE" and image.name != "lashes"]
    facts["pictures"] = {image.name: [*image.size, len(image.pixels[:4])] for image in images}
    facts["action_after_reload"] = head.data.shape_keys["lifemask_photographs"].name
    facts["state_after_reload"] = session.state.name
    return facts


def update(addon, arguments: dict) -> dict:
    """A head that a person has worked on gets new figures; its photographs are gone, so the packed ones are sent."""
    import bpy

    folder = Path(arguments["folder"])
    shared.empty_file()
    use_fake(addon, folder, result=arguments["result"], seconds=0.05)
    bpy.ops.lifemask.reconstruct(directory=str(folder), files=photographs(folder, "a.jpg", "b.jpg"))
    head = bpy.context.view_layer.objects.active
    head.name = "Ada"
    head.location = (0.5, 0.0, 0.25)
    head.modifiers.new("Smooth", "SUBSURF")
    own = bpy.data.materials.new("My skin")
    head.material_slots[1].material = own
    head.shape_key_remove(head.data.shape_keys.key_blocks["cheekPuff"])
    mine = head.shape_key_add(name="Mine", from_mix=False)
    mine.value = 0.25
    mine.points[7].co.x += 0.125
    one, other = (head.shape_key_add(name=name, from_mix=False) for name in ("One", "Other"))
    one.relative_key, other.relative_key = other, one
    before = shared.coordinates(head.data.shape_keys.key_blocks[0].points)
    assigned = bpy.data.actions.new("My animation")
    head.data.shape_keys.animation_data.action = assigned
    bpy.data.objects.remove(next(child for child in head.children if "photo_2" in child.name))
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "worked on.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(folder / "worked on.blend"))
    (folder / "a.jpg").unlink()
    (folder / "b.jpg").unlink()
    session = use_fake(addon, folder, result=arguments["other"], seconds=0.05)
    head = bpy.data.objects["Ada"]
    bpy.context.view_layer.objects.active = head
    count = len(bpy.data.objects), len(bpy.data.images), len(bpy.data.actions)
    sent = []
    start = session.start_reconstruct
    session.start_reconstruct = lambda request: (sent.append(request), start(request))
    gone = None
    try:
        bpy.ops.lifemask.update_head()
    except RuntimeError as error:  # the second photograph has no camera any more, so there is no copy of it
        gone = str(error)
    facts = {"gone": gone}
    bpy.ops.lifemask.dismiss()
    (folder / "b.jpg").write_bytes(b"a photograph")
    facts["ended"] = list(bpy.ops.lifemask.update_head())
    del session.start_reconstruct
    head = bpy.data.objects["Ada"]
    facts["head"] = head_facts(addon, head)
    facts["basis"] = shared.coordinates(head.data.shape_keys.key_blocks[0].points)
    facts["sent"] = [str(path) for path, _ in sent[-1].photographs]
    facts["sent_there"] = Path(facts["sent"][0]).is_file()
    facts["counts"] = [count, (len(bpy.data.objects), len(bpy.data.images), len(bpy.data.actions))]
    mine = head.data.shape_keys.key_blocks["Mine"]
    facts["mine"] = shared.coordinates(mine.points)[7] - facts["basis"][7]
    facts["moved"] = np.abs(facts["basis"] - before).max()
    facts["mesh_is_basis"] = np.abs(shared.coordinates(head.data.vertices) - facts["basis"]).max()
    facts["jaw"] = shared.coordinates(head.data.shape_keys.key_blocks["jawOpen"].points) - facts["basis"]
    facts["action"] = head.data.shape_keys.animation_data.action.name
    kept = head.data.shape_keys["lifemask_photographs"]
    facts["photographs_action"] = [kept.name, kept.use_fake_user]
    facts["material"] = head.material_slots[1].material.name
    (albedo,) = [image for image in addon("head_builder").pictures_of(head) if "lifemask_albedo" in image]
    facts["albedo"] = np.array(albedo.pixels[:])
    facts["albedo_packed"] = albedo.packed_file is not None
    facts["cameras"] = sorted(child.name for child in head.children)
    facts["done"] = [session.done.sentence, session.done.waiting, list(session.done.warnings)]
    return plain(facts)


def copies(addon, arguments: dict) -> dict:
    """Of a head and its copies, which share materials and cameras, one gets the figures of another result."""
    import bpy

    folder = Path(arguments["folder"])
    shared.empty_file()
    use_fake(addon, folder, result=arguments["result"], seconds=0.05)
    bpy.ops.lifemask.reconstruct(directory=str(folder), files=photographs(folder, "a.jpg", "b.jpg"))
    heads = {"first": bpy.context.view_layer.objects.active}
    for name in ("second", "third"):
        heads[name] = copy = heads["first"].copy()
        copy.data = copy.data.copy()
        bpy.context.scene.collection.objects.link(copy)
        for camera in [child for child in heads["first"].children if child.type == "CAMERA"]:
            twin = camera.copy()  # with the same lens and background
            twin.parent = copy
            bpy.context.scene.collection.objects.link(twin)
    session = use_fake(addon, folder, result=arguments["other"], seconds=0.05)
    bpy.context.view_layer.objects.active = heads["second"]
    start, objects = session.start_reconstruct, bpy.context.view_layer.objects
    session.start_reconstruct = lambda request: (start(request), setattr(objects, "active", None))
    bpy.ops.lifemask.update_head()
    del session.start_reconstruct
    facts = {}
    for name, head in heads.items():
        (albedo,) = [image for image in addon("head_builder").pictures_of(head) if "lifemask_albedo" in image]
        camera = addon("cameras").cameras_of(head)[0]
        facts[name] = {
            "height": float(np.ptp(shared.coordinates(head.data.vertices)[:, 2])),
            "albedo": list(albedo.size),
            "packed": albedo.packed_file is not None,
            "camera users": camera.data.users,
            "background": addon("head_builder").background_of(camera).packed_file is not None,
        }
    return facts


def elsewhere(addon, arguments: dict) -> dict:
    """What stands in the way of an update: the head in edit mode with another object active, no room for a copy."""
    import bpy

    folder = Path(arguments["folder"])
    shared.empty_file()
    session = use_fake(addon, folder, result=arguments["result"], seconds=0.05)
    bpy.ops.lifemask.reconstruct(directory=str(folder), files=photographs(folder, "a.jpg", "b.jpg"))
    head = bpy.context.view_layer.objects.active
    other = bpy.data.objects.new("Other", None)
    bpy.context.scene.collection.objects.link(other)
    session = use_fake(addon, folder, result=arguments["other"], seconds=0.05)
    start = session.start_reconstruct

    def edit_meanwhile(request) -> None:
        start(request)
        bpy.ops.object.mode_set(mode="EDIT")
        bpy.context.view_layer.objects.active = other

    session.start_reconstruct = edit_meanwhile
    bpy.ops.lifemask.update_head()
    del session.start_reconstruct
    facts = {"mode": [bpy.context.mode, head.mode], "waits": [session.done.waiting, session.done.reason]}
    bpy.context.view_layer.objects.active = head
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.lifemask.build_result()
    facts["afterwards"] = session.done.waiting
    (folder / "a.jpg").unlink()
    pictures = addon("pictures")
    whole, pictures.unpacked_copy = pictures.unpacked_copy, no_room
    try:
        bpy.ops.lifemask.update_head()
    except RuntimeError as error:
        facts["no room"] = [str(error), session.error.code]
    pictures.unpacked_copy = whole
    session.dismiss()
    (folder / "a.jpg").write_bytes(b"a photograph")
    other.constraints.new("COPY_LOCATION").target = head  # points to the head, which keeps it in the file

    def delete_meanwhile(request) -> None:
        start(request)
        bpy.data.collections["Head"].objects.unlink(head)

    start, session.start_reconstruct = session.start_reconstruct, delete_meanwhile
    bpy.ops.lifemask.update_head()
    del session.start_reconstruct
    facts["deleted"] = [session.done.warnings, [item.name for item in bpy.context.scene.objects if item.type == "MESH"]]
    session.done = addon("session").Done("A head", waiting=True, request=addon("session").Request(()))
    ticking = addon("ticking")
    ticking.bring_in_result = lambda: 1 / 0
    facts["again after a failure"] = [ticking._tick(), session.error.code]
    return facts


def no_room(*_) -> None:
    raise OSError(28, "No space left on device", "/copies")


def beside(addon, arguments: dict) -> dict:
    """A head whose mesh was changed by hand: the new one stands beside it."""
    import bpy

    folder = Path(arguments["folder"])
    shared.empty_file()
    session = use_fake(addon, folder, result=arguments["result"], seconds=0.05)
    bpy.ops.lifemask.reconstruct(directory=str(folder), files=photographs(folder, "a.jpg", "b.jpg"))
    head = bpy.context.view_layer.objects.active
    head.shape_key_clear()
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.subdivide()
    bpy.ops.object.mode_set(mode="OBJECT")
    count = len(head.data.vertices)
    bpy.ops.lifemask.update_head()
    new = bpy.context.view_layer.objects.active
    records = addon("head_record")
    facts = {
        "untouched": len(head.data.vertices) == count and head.data.shape_keys is None,
        "new": [new.name, len(new.data.shape_keys.key_blocks)],
        "ids_differ": records.record_of(new).id != records.record_of(head).id,
        "apart": (new.location - head.location).length > 0.1,
        "done": [session.done.head_id == records.record_of(new).id, list(session.done.warnings)],
    }
    head.shape_key_clear()
    return facts


def waiting(addon, arguments: dict) -> dict:
    """What cannot be built now waits: the scene is gone, the file is another one, a mesh is being edited."""
    import bpy

    folder = Path(arguments["folder"])
    session = use_fake(addon, folder, result=arguments["result"], seconds=0.05)
    files = photographs(folder, "a.jpg")
    ticking, types = addon("ticking"), addon("session")

    def started() -> None:
        scene = bpy.context.scene
        session.dismiss()
        session.start_reconstruct(types.Request(((folder / files[0]["name"], None),), {}, scene.session_uid))

    def outcome() -> list:
        start_and_wait(session)
        ticking.bring_in_result()
        return [session.state.name, session.done.waiting, session.done.reason, heads()]

    def heads() -> int:
        return len(list(addon("head_record").heads()))

    shared.empty_file()
    facts = {}
    other = bpy.data.scenes.new("Other")
    started()
    bpy.data.scenes.remove(bpy.context.scene)
    facts["scene deleted"] = outcome()
    bpy.context.window.scene = other
    bpy.ops.lifemask.build_result()
    facts["added by hand"] = [session.done.waiting, heads()]

    shared.empty_file()
    started()
    shared.empty_file()
    facts["file reloaded"] = outcome()
    shared.empty_file()
    facts["and again"] = [session.state.name, session.done.waiting]

    shared.empty_file()
    bpy.ops.mesh.primitive_cube_add()
    started()
    bpy.ops.object.mode_set(mode="EDIT")
    facts["edit mode"] = outcome()
    facts["polled"] = bpy.ops.lifemask.build_result.poll()
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.lifemask.build_result()
    facts["after edit mode"] = [session.done.waiting, heads()]

    shared.empty_file()
    started()
    bpy.context.scene.name = "Renamed meanwhile"
    facts["scene renamed"] = outcome()

    started()
    start_and_wait(session)
    shutil.rmtree(session.done.folder)
    ticking.bring_in_result()
    facts["result deleted"] = [session.state.name, session.error.code, session.error.sentence, heads()]
    return facts


def faults(addon, arguments: dict) -> dict:
    """What a script is told when an operator fails."""
    import bpy

    folder = Path(arguments["folder"])
    shared.empty_file()
    facts = {}

    def told(operator, **properties) -> str:
        try:
            return str(list(operator(**properties)))
        except RuntimeError as error:
            return str(error)

    session = addon("session").session
    chosen = addon("preferences").preferences()
    chosen.folder = str(folder / "nothing here")
    files = photographs(folder, "a.jpg")
    facts["not set up"] = [session.state.name, told(bpy.ops.lifemask.reconstruct, directory=str(folder), files=files)]
    facts["offline"] = [told(bpy.ops.lifemask.set_up), session.error.fix.action]
    bpy.ops.lifemask.dismiss()
    chosen.wheel_folder = str(folder / "no wheels")
    facts["no wheels"] = [told(bpy.ops.lifemask.set_up), session.error.fix.action]
    bpy.ops.lifemask.dismiss()
    chosen.wheel_folder = ""
    chosen.existing_environment = str(folder)
    facts["no environment"] = [told(bpy.ops.lifemask.set_up), session.error.code]
    bpy.ops.lifemask.dismiss()
    chosen.existing_environment = ""

    session = use_fake(addon, folder, result=arguments["result"], seconds=0.2, crash_at=0.5)
    facts["crash"] = told(bpy.ops.lifemask.reconstruct, filepath=str(folder / "a.jpg"))
    bpy.ops.lifemask.dismiss()
    session = use_fake(addon, folder, result=arguments["result"], seconds=0.05)
    facts["deleted"] = told(bpy.ops.lifemask.reconstruct, filepath=str(folder / "gone.jpg"))
    facts["deleted fix"] = session.error.fix.action
    bpy.ops.lifemask.dismiss()
    facts["nothing chosen"] = told(bpy.ops.lifemask.reconstruct)
    facts["objects"] = len(bpy.data.objects)
    return facts


def batch(addon, arguments: dict) -> dict:
    """What the backend is asked for a folder, for folders of people, and for a CSV file."""
    import bpy

    folder = Path(arguments["folder"])
    shared.empty_file()
    session = use_fake(addon, folder)
    asked = []
    session.start_batch = asked.append
    people = folder / "people"
    people.mkdir()
    (folder / "people.csv").write_text("name,photograph\n")
    bpy.context.scene.lifemask.texture_size = "1024"
    bpy.ops.lifemask.batch(
        directory=f"{people}/", formats={"fbx", "glb"}, jobs=2, preset="unreal", keys="used", picture_size="512"
    )
    bpy.ops.lifemask.batch(filepath=f"{people}/", per_person=True, output=str(folder / "out"), resume=False)
    bpy.ops.lifemask.batch(filepath=str(folder / "people.csv"), directory=f"{folder}/", per_person=True)
    facts = {"asked": asked, "folder": str(folder)}
    for name, chosen in (("refused", folder / "gone" / "away"), ("whole disk", folder.anchor)):
        try:
            bpy.ops.lifemask.batch(filepath=str(chosen))
        except RuntimeError as error:
            facts[name] = str(error)
    return facts


def told(operator, **properties) -> str:
    """What an operator returns, or the sentence of its error."""
    try:
        return list(operator(**properties))
    except (RuntimeError, TypeError) as error:
        return str(error).strip()


def install(home: Path, name: str, label: str, *, commercial: bool) -> None:
    """What the backend leaves of a face model that was added."""
    folder = home / "face_models" / name
    folder.mkdir(parents=True)
    (folder / "model.npz").write_bytes(b"a model")
    asset = {"name": name, "label": label, "licence": "", "sentence": f"Of {label}.", "commercial": commercial}
    (folder / "asset.json").write_text(json.dumps(asset), "utf-8")


def face_models(addon, arguments: dict) -> dict:
    """The choice of a face model in scenes and files, and what it lets a person do."""
    import bpy

    folder = Path(arguments["folder"]) / "models"
    folder.mkdir()
    shared.empty_file()
    use_fake(addon, folder, result=arguments["result"], seconds=0.05)
    module = addon("session")
    session, home = module.session, folder / "home"
    settings = lambda: bpy.context.scene.lifemask  # noqa: E731
    names = lambda: [model.name for model in session.face_models]  # noqa: E731
    facts = {"before": [names(), settings().face_model]}
    install(home, "flame2023", "FLAME 2023", commercial=False)
    install(home, "ict", "ICT-FaceKit", commercial=True)
    session.look_again()
    facts["found on the disk"] = [names(), settings().face_model]
    settings().face_model = "ict"
    facts["chosen"] = [settings().face_model, settings().face_model_name]
    try:
        settings().face_model = "bfm2009"
        facts["refused"] = ""
    except TypeError as error:
        facts["refused"] = f"TypeError {error}"
    install(home, "bfm2009", "A model that sorts before", commercial=True)
    session.look_again()
    facts["after another was added"] = [settings().face_model, settings().face_model_name]
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "chosen.blend"))
    shared.empty_file()
    session.configure(module.Settings(root=folder / "other computer"))
    bpy.ops.wm.open_mainfile(filepath=str(folder / "chosen.blend"))
    items = addon("properties")._items(session.face_models, settings().face_model_name)
    shown = next(label for name, label, *_ in items if name == settings().face_model)
    facts["items"] = [[item[0], item[3]] for item in items]
    facts["where it is not installed"] = [settings().face_model, settings().face_model_name, shown]
    facts["scenes differ"] = [settings().face_model, bpy.data.scenes.new("Other").lifemask.face_model]
    picture = folder / "a.jpg"
    photographs(folder, "a.jpg")
    polls = lambda: [bpy.ops.lifemask.reconstruct.poll(), bpy.ops.lifemask.batch.poll()]  # noqa: E731
    facts["polls"] = {"not installed": polls()}
    facts["not installed"] = addon("properties").why_no_head(bpy.context.scene)
    session.configure(module.Settings(root=home))
    settings().face_model = "flame2023"
    facts["polls"]["installed"] = polls()
    session.configure(module.Settings(root=home, for_sale=True))
    facts["polls"]["sold"] = polls()
    facts["sold"] = addon("properties").why_no_head(bpy.context.scene)
    session.configure(module.Settings(root=home))
    facts["polls"]["not sold"] = polls()
    settings().method = "spectral"
    sent, start = [], session._start
    session._start = lambda kind, method, parameters: (sent.append(parameters), start(kind, method, parameters))
    bpy.ops.lifemask.reconstruct(filepath=str(picture))
    facts["asked"] = sent[-1]["options"]
    settings().face_model = "open_head"
    session.configure(module.Settings(root=home, for_sale=True))
    facts["update"] = told(bpy.ops.lifemask.update_head)
    session.configure(module.Settings(root=home))
    bpy.ops.lifemask.update_head()
    facts["updated with"] = sent[-1]["options"]["face_model"]
    del session._start
    return plain(facts)


def face_models_come_and_go(addon, arguments: dict) -> dict:
    """Added, downloaded and removed by the operators of the preferences."""
    import bpy

    folder = Path(arguments["folder"]) / "assets"
    folder.mkdir()
    shared.empty_file()
    operators = bpy.ops.lifemask
    session = use_fake(addon, folder, asset_seconds=0.05)
    names = lambda: [model.name for model in session.face_models]  # noqa: E731
    sent, start = [], session._start
    session._start = lambda kind, method, parameters: (sent.append(parameters), start(kind, method, parameters))
    operators.refresh_face_models()
    facts = {"listed": [asset.name for asset in session.assets], "folder": str(folder / "ICT")}
    facts["offline"] = [operators.download_face_model.poll(), session.news]
    bpy.context.preferences.system.use_online_access = True
    facts["not agreed"] = told(operators.download_face_model, asset="ict")
    facts["downloaded"] = told(operators.download_face_model, asset="ict", agreed=True)
    facts["models after the download"] = names()
    facts["removed"] = told(operators.remove_face_model, asset="ict")
    facts["models after the removal"] = names()
    (folder / "generic_model.pkl").write_bytes(b"a model")
    (folder / "ICT").mkdir()
    facts["file"] = str(folder / "generic_model.pkl")
    facts["added"] = told(operators.add_face_model, filepath=facts["file"])
    facts["added_path"] = sent[-1]["path"]
    facts["added folder"] = told(operators.add_face_model, directory=f"{facts['folder']}/")
    facts["added_folder_path"] = sent[-1]["path"]
    facts["nothing chosen"] = told(operators.add_face_model, filepath=str(folder / "gone.pkl"))
    facts["built in"] = told(operators.remove_face_model, asset="open_head")
    operators.dismiss()
    facts["page"] = told(operators.open_owners_page, asset="bfm2009")
    facts["no page"] = told(operators.open_owners_page, asset="open_head")
    fix = {"action": "add-face-model", "label": "Add a file"}
    reason = {"code": "bad-face-model-file", "sentence": "This is not what it should be.", "kind": "usage", "fix": fix}
    del session._start
    session = use_fake(addon, folder, fail_assets=reason)
    facts["broken"] = told(operators.add_face_model, filepath=facts["file"])
    facts["broken fix"] = session.error.fix.action
    return facts


def disabled(addon, arguments: dict) -> dict:
    """The add-on is disabled while a job runs: the process ends and no timer stays. Enabled again, it works."""
    import bpy

    folder = Path(arguments["folder"])
    shared.empty_file()
    session = use_fake(addon, folder, result=arguments["result"], seconds=30)
    photographs(folder, "a.jpg")
    types, package = addon("session"), addon("preferences").PACKAGE
    session.start_reconstruct(types.Request(((folder / "a.jpg", None),), {}, bpy.context.scene.session_uid))
    while not (session.work and session.work.share):
        session.tick()
        time.sleep(0.01)
    pid = session._backend.pid
    bpy.ops.preferences.addon_disable(module=package)
    facts = {"timer": bpy.app.timers.is_registered(addon("ticking")._tick), "alive": is_alive(pid)}
    facts["jobs"] = [path.name for path in (folder / "home").glob("jobs/*")]
    bpy.ops.preferences.addon_enable(module=package)
    use_fake(addon, folder, result=arguments["result"], seconds=0.05)
    facts["again"] = list(bpy.ops.lifemask.reconstruct(filepath=str(folder / "a.jpg")))
    return facts


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def plain(facts: dict) -> dict:
    """Numpy's numbers as Python's."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in facts.items()}


SCENARIOS = {
    function.__name__: function
    for function in (
        create,
        update,
        copies,
        elsewhere,
        beside,
        waiting,
        faults,
        batch,
        face_models,
        face_models_come_and_go,
        disabled,
    )  # fmt: skip
}

if __name__ == "__main__":
    shared.run(SCENARIOS)
