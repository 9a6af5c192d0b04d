"""The artist's whole way, with a real mouse in the window of a real Blender. Run by blender-gui, see test_artist.py.

Arguments: a folder to write to, the environment of the backend, the folder of test data.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import bpy
import guidrive as g

FOLDER, ENVIRONMENT, DATA = map(Path, sys.argv[sys.argv.index("--") + 1 :][:3])
PACKAGE = "bl_ext.user_default.lifemask"
PHOTOGRAPHS = FOLDER / "Fotos von Anna Ünal"
HOME = FOLDER / "Lifemask"
LONGEST_JOB = 90.0
VIEWPORT = (620, 520)
SECONDS_TO_COMPILE_SHADERS = 25.0

# Preferences have no data path that a button can be asked for: where they are, in pixels below "Set Up Lifemask".
WITHOUT_A_NETWORK, FOLDER_FIELD, EXISTING_ENVIRONMENT_FIELD = 218, 126, 269


def addon(name):
    return sys.modules[f"{PACKAGE}.addon.{name}"]


def session():
    return addon("session").session


def state():
    return session().state.name


def figure(name, value):
    print("FIGURE", name, json.dumps(value), flush=True)


def heads():
    return [item for item in bpy.data.objects if "lifemask" in item.keys()]


class Heartbeat:
    """The longest gap between two ticks of a timer while a job runs: how long the interface was blocked.

    The steps of this script block the interface too, so only what passes between `watch` and `stop` counts.
    """

    def __init__(self):
        self.watching, self.last, self.gaps = False, None, []
        bpy.app.timers.register(self.tick, persistent=True)

    def tick(self):
        now = time.perf_counter()
        busy = self.watching and state() == "WORKING"
        if busy and self.last is not None:
            self.gaps.append(now - self.last)
            if self.gaps[-1] > 0.08:
                g.log(f"blocked {self.gaps[-1]:.3f} s at {session().work.stage} {session().work.share:.2f}")
        self.last = now if busy else None
        return 0.005

    def watch(self):
        self.watching, self.last, self.gaps = True, None, []

    def stop(self):
        self.watching = False
        return max(self.gaps, default=0.0)


def find(ending, **where):
    """Where the button of a property or an operator is, in the sidebar as it is now."""
    found = yield from g.buttons(until=lambda what: what.endswith(ending) or f"bpy.ops.{ending}(" in what, **where)
    hits = [each for each in found if each[2].endswith(ending) or f"bpy.ops.{ending}(" in each[2]]
    assert hits, f"no {ending} among {found}"
    return hits[0][:2]


def type_into(x, y, text):
    """Put a text into a field."""
    g.move(x, y)
    yield 0.2
    g.xdo("click", "--repeat", 2, "--delay", 80, 1)
    yield 0.3
    yield from g.key("ctrl+a")
    yield from g.text(text)
    yield from g.key("Return")
    yield 0.3


def wait_until(*names, seconds=LONGEST_JOB):
    try:
        yield from g.wait(lambda: state() in names, seconds)
    except TimeoutError:
        raise TimeoutError(f"{state()} after {seconds} s, {session().error or session().work}") from None


def drop_photographs():
    """Drop two photographs into the viewport, choose Lifemask among Blender's handlers, accept the options."""
    yield from g.drop([str(PHOTOGRAPHS / "von vorn.jpg"), str(PHOTOGRAPHS / "von nah.jpg")], *VIEWPORT)
    yield 0.7
    g.shot("drop.png")
    yield from g.key("h")  # "Head from Photographs (Lifemask)": its underlined letter in the menu
    yield 1.0
    g.shot("options.png")
    yield from g.key("Return")


def steps():
    PHOTOGRAPHS.mkdir()
    shutil.copy(DATA / "photos" / "lisa" / "60cm.jpg", PHOTOGRAPHS / "von vorn.jpg")
    shutil.copy(DATA / "photos" / "lisa" / "30cm.jpg", PHOTOGRAPHS / "von nah.jpg")
    heartbeat = Heartbeat()
    bpy.ops.object.select_all(action="SELECT")
    bpy.ops.object.delete()
    yield from g.open_tab("Lifemask")
    assert state() == "NOT_SET_UP", state()
    g.shot("not set up.png")
    yield from set_up()
    yield from drop_photographs()
    yield from cancelled_once()
    yield from created(heartbeat)
    yield from undone_and_redone()
    yield from looked_at()
    yield from posed()
    yield from exported()
    yield from saved_reopened_and_updated(heartbeat)


def set_up():
    """Name an environment that is there already: nothing is left to be installed."""
    x, y = yield from find("lifemask.set_up")
    yield from g.click(x - 60, y + WITHOUT_A_NETWORK)
    yield from type_into(x - 40, y + FOLDER_FIELD, str(HOME))
    yield from type_into(x - 40, y + EXISTING_ENVIRONMENT_FIELD, str(ENVIRONMENT))
    chosen = bpy.context.preferences.addons[PACKAGE].preferences
    assert Path(chosen.existing_environment) == ENVIRONMENT, chosen.existing_environment
    assert Path(chosen.folder) == HOME, chosen.folder
    yield from wait_until("READY", "ERROR")
    assert state() == "READY", session().error
    yield 0.5
    g.shot("ready.png")


def cancelled_once():
    yield from wait_until("WORKING", "ERROR", seconds=10)
    assert state() == "WORKING", session().error
    x, y = yield from find("lifemask.cancel")
    yield from g.wait(lambda: session().work and session().work.share > 0.05, 60)
    g.shot("working.png")
    g.move(x, y)
    yield 0.05
    g.xdo("click", 1)
    pressed = time.perf_counter()
    yield from g.wait(lambda: state() not in ("WORKING", "CANCELLING"), 10, every=0.01)
    figure("cancel_to_idle_seconds", round(time.perf_counter() - pressed, 3))
    assert state() == "READY", session().error
    assert not heads()
    assert len(bpy.context.scene.lifemask.photographs) == 2


def created(heartbeat):
    yield 0.5
    g.shot("photographs.png")
    yield from g.press("lifemask.reconstruct")
    began = time.perf_counter()
    g.move(*VIEWPORT)
    heartbeat.watch()
    yield from wait_until("DONE", "ERROR")
    assert state() == "DONE", session().error
    figure("longest_block_seconds", round(heartbeat.stop(), 3))
    figure("two_photographs_seconds", round(time.perf_counter() - began, 2))
    yield 0.5
    g.shot("done.png")
    (head,) = heads()
    assert len(head.data.shape_keys.key_blocks) >= 53
    dropped = [Path(line.filepath) for line in bpy.context.scene.lifemask.photographs]
    found_in = addon("photographed_faces").found_in
    yield from g.wait(lambda: all(found_in(path) for path in dropped), 20)
    assert [len(found_in(path).faces) for path in dropped] == [1, 1], "faces are looked for after the job"


def undone_and_redone():
    g.move(*VIEWPORT)
    yield 0.3
    yield from g.key("ctrl+z")
    yield 0.7
    assert not heads(), "one Ctrl-Z removes the head"
    assert not [item for item in bpy.data.objects if item.type == "CAMERA"]
    yield from g.key("ctrl+shift+z")
    yield 0.7
    assert len(heads()) == 1, "one Ctrl-Shift-Z brings it back"


def looked_at():
    """Through the camera of the photograph, then at the head with its texture."""
    yield from g.press("lifemask.show_camera_view")
    yield 0.5
    space = g.view3d()[1].spaces.active
    assert space.region_3d.view_perspective == "CAMERA"
    space.shading.type = "MATERIAL"
    yield SECONDS_TO_COMPILE_SHADERS
    g.shot("camera view.png")


def posed():
    """Shut an eye with its slider."""
    (head,) = heads()
    block = head.data.shape_keys.key_blocks["eyeBlinkLeft"]
    block.value = 0.0
    yield from scroll_to("eyeBlinkLeft")
    x, y = yield from find('key_blocks["eyeBlinkLeft"].value', columns=(0.55,))
    yield from type_into(x, y, "1")
    assert block.value == 1.0, block.value
    bpy.context.scene.frame_set(bpy.context.scene.frame_current + 1)
    yield 0.5
    assert block.value == 1.0, "the slider stays where the artist put it"
    g.shot("eye shut.png")


def exported():
    target = FOLDER / "Anna Ünal.fbx"
    yield from scroll_to_top()
    yield from g.press("lifemask.export_head", columns=(0.25,))
    yield 1.0
    g.shot("export.png")
    yield from accept_file(target)
    yield from g.wait(lambda: target.is_file(), 30)
    yield 0.5
    assert target.stat().st_size > 500_000
    note = json.loads(target.with_name(target.name + ".json").read_text("utf-8"))
    assert len(note["keys"]) == 52 and note["licence"]


def saved_reopened_and_updated(heartbeat):
    target = FOLDER / "Anna.blend"
    g.move(*VIEWPORT)
    yield 0.2
    yield from g.key("ctrl+s")
    yield 1.0
    yield from accept_file(target)
    yield from g.wait(target.is_file, 30)
    shutil.rmtree(HOME / "jobs", ignore_errors=True)  # what is in the file must do
    bpy.ops.wm.open_mainfile(filepath=str(target))
    yield 1.0
    (head,) = heads()
    assert head.data.shape_keys.key_blocks["eyeBlinkLeft"].value == 1.0
    head.name = "Anna"
    basis = [vertex.co[:] for vertex in head.data.vertices][:5]
    bpy.ops.object.select_all(action="DESELECT")
    head.select_set(True)
    bpy.context.view_layer.objects.active = head
    yield from g.open_tab("Lifemask")
    yield from g.press("lifemask.update_head")
    heartbeat.watch()
    yield from g.wait(lambda: state() in ("WORKING", "DONE", "ERROR"), 10)
    yield from wait_until("DONE", "ERROR")
    figure("longest_block_while_updating_seconds", round(heartbeat.stop(), 3))
    assert state() == "DONE", session().error
    (head,) = heads()
    assert head.name == "Anna"
    assert [vertex.co[:] for vertex in head.data.vertices][:5] == basis, "the same photographs give the same head"
    yield 1.0
    g.shot("updated.png")


def accept_file(path):
    """Give the open file browser a folder and a name, and accept with the keyboard."""
    area = next(area for area in bpy.context.window_manager.windows[0].screen.areas if area.type == "FILE_BROWSER")
    area.spaces.active.params.directory = str(path.parent).encode()
    area.spaces.active.params.filename = path.name
    g.move(700, 500)
    yield 0.7
    yield from g.key("Return")
    yield 0.5


def scroll_to_top():
    yield from scrolled(4, 40)


def scroll_to(ending):
    for _ in range(12):
        found = yield from g.buttons(columns=(0.55,))
        if any(ending in what for *_, what in found):
            return
        yield from scrolled(5, 6)


def scrolled(button, times):
    """Turn the mouse's wheel over the sidebar: 4 is up, 5 is down."""
    area = g.view3d()[1]
    region = g.region(area)
    g.move(*g.xy(region.x + region.width // 2, region.y + region.height // 2))
    yield 0.1
    for _ in range(times):
        g.xdo("click", button)
    yield 0.4


g.run(steps())
