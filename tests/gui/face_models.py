"""Face models with a real mouse: preferences and panel in the window of a real Blender, with the fake backend.

Run by blender-gui, see test_artist.py. Arguments: a folder to write to, the project's folder.
"""

import importlib
import json
import os
import sys
from pathlib import Path

import bpy
import guidrive as g

FOLDER, ROOT = map(Path, sys.argv[sys.argv.index("--") + 1 :][:2])
PACKAGE = "bl_ext.user_default.lifemask"
BUTTON_COLUMN = (0.93,)


def addon(name):
    return importlib.import_module(f"{PACKAGE}.addon.{name}")


def session():
    return addon("session").session


def use_fake(**told):
    types, variables = addon("session"), {**os.environ, "LIFEMASK_FAKE": json.dumps(told)}
    command = ("python3", str(ROOT / "tests" / "fake_backend.py"), "--parent-pid", str(os.getpid()))
    session().shut_down()
    session().find_program = lambda settings: types.Program(command, variables)
    session().configure(types.Settings(root=FOLDER / "Lifemask"))


def idle(seconds=20):
    yield 0.3
    yield from g.wait(lambda: not session().is_busy, seconds)
    yield 0.5


def models():
    return [model.name for model in session().face_models]


def steps():
    use_fake(asset_seconds=2.0, seconds=0.5)
    (FOLDER / "Anna.jpg").write_bytes(b"a photograph")
    yield from g.open_tab("Lifemask")
    bpy.ops.lifemask.add_photographs(directory=str(FOLDER), files=[{"name": "Anna.jpg"}])
    yield from idle()
    yield from preferences()
    yield from panel()


def preferences():
    """The list is asked for by itself; one model is downloaded and removed again."""
    area = g.view3d()[1]
    bpy.context.preferences.system.use_online_access = True
    bpy.context.preferences.active_section = "ADDONS"
    bpy.context.window_manager.addon_search = "Lifemask"
    area.type = "PREFERENCES"
    bpy.ops.preferences.addon_expand(module=PACKAGE)
    yield from g.wait(lambda: session().assets is not None, 20)
    yield from idle()
    yield from press("lifemask.face_model_details", columns=(0.988,))
    chosen = bpy.context.preferences.addons[PACKAGE].preferences
    assert chosen.face_model_details == "open_head", chosen.face_model_details
    chosen.face_model_details = "ict"
    area.tag_redraw()
    yield 0.5
    yield from press("lifemask.download_face_model")
    yield 1.0
    g.shot("question.png")
    assert "ict" not in models(), "nothing is downloaded before somebody has agreed"
    yield from g.key("Return")
    yield 1.0
    assert session().kind == "fetch" and session().work is not None, session().state
    g.shot("downloading.png")
    yield from idle()
    assert "ict" in models() and session().news, session().error
    g.shot("face models.png")
    yield from press("lifemask.remove_face_model")  # the first in the list
    yield 1.0
    yield from g.key("Return")
    yield from idle()
    assert models() == ["open_head", "ict"], models()
    session().start_asset("add", "gone.pkl", {"path": str(FOLDER / "gone.pkl")})
    yield from idle()
    assert session().state.name == "ERROR"
    g.shot("error.png")
    yield from press("lifemask.dismiss", columns=(0.222,))
    assert session().state.name == "READY"
    area.type = "VIEW_3D"
    yield 0.5


def panel():
    """A head's model is chosen in the list; one that is not installed, or may not be sold, stops the button."""
    yield from g.open_tab("Lifemask")
    settings = bpy.context.scene.lifemask
    x, y = yield from find("lifemask.face_model")
    yield from g.click(x + 40, y)
    yield 0.5
    g.shot("choice.png")
    yield from g.key("i")  # the underlined letter of ICT-FaceKit
    yield 0.5
    assert settings.face_model_name == "ict", settings.face_model_name
    use_fake(seconds=0.5)
    bpy.ops.lifemask.refresh_face_models()
    yield from idle()
    yield from redrawn("not installed.png")
    yield from g.press("lifemask.reconstruct")
    assert session().state.name == "READY", "the model is not installed any more"
    settings.face_model = "flame2023"
    yield from redrawn("not to be sold.png")
    types = addon("session")
    session().configure(types.replace(session().settings, for_sale=True))
    yield from redrawn("work is sold.png")
    yield from g.press("lifemask.reconstruct")
    assert session().state.name == "READY", "the work is sold"
    session().configure(types.replace(session().settings, for_sale=False))


def redrawn(picture):
    g.view3d()[1].tag_redraw()
    yield 0.7
    g.shot(picture)


def press(operator, columns=BUTTON_COLUMN):
    yield from g.press(operator, kind="PREFERENCES", region_kind="WINDOW", columns=columns)
    yield 0.3


def find(ending):
    found = yield from g.buttons(until=lambda what: what.endswith(ending))
    return next(each[:2] for each in found if each[2].endswith(ending))


g.run(steps())
