"""The pictures of the README: panel and head in the window of a real Blender. Run by blender-gui, see test_artist.py.

Arguments as of artist.py. The person is the astronaut of the demo, whose portrait is in the public domain.
"""

import math
import sys
from pathlib import Path

import bpy
import guidrive as g

FOLDER, ENVIRONMENT, DATA = map(Path, sys.argv[sys.argv.index("--") + 1 :][:3])
PACKAGE = "bl_ext.user_default.lifemask"
SECONDS_TO_COMPILE_SHADERS = 40.0


def steps():
    session = sys.modules[f"{PACKAGE}.addon.session"].session
    chosen = bpy.context.preferences.addons[PACKAGE].preferences
    chosen.folder, chosen.existing_environment = str(FOLDER / "Lifemask"), str(ENVIRONMENT)
    bpy.ops.object.select_all(action="SELECT")
    bpy.ops.object.delete()
    yield from g.open_tab("Lifemask")
    photograph = DATA / "photos" / "public_domain" / "astronaut.png"
    bpy.ops.lifemask.add_photographs(directory=str(photograph.parent), files=[{"name": photograph.name}])
    yield from g.wait(lambda: not session.is_busy, 60)
    yield 1.0
    g.shot("panel.png")
    yield from g.press("lifemask.reconstruct")
    yield from g.wait(lambda: session.state.name in ("DONE", "ERROR"), 90)
    assert session.state.name == "DONE", session.error
    yield 0.5
    space = g.view3d()[1].spaces.active
    space.overlay.show_overlays = False
    space.shading.type = "MATERIAL"
    space.shading.use_scene_world = False
    space.shading.studiolight_rotate_z = math.radians(-30)
    region = space.region_3d
    region.view_rotation = _nearly_from_the_front()
    region.view_distance *= 0.9
    g.move(300, 760)
    yield SECONDS_TO_COMPILE_SHADERS
    g.shot("head.png")
    space.overlay.show_overlays = True
    bpy.ops.object.select_all(action="DESELECT")
    yield from g.press("lifemask.show_camera_view")
    g.move(300, 760)
    yield 8.0
    g.shot("camera.png")


def _nearly_from_the_front():
    """Upright, from the front and a little from the side."""
    from mathutils import Euler

    return Euler((math.radians(88), 0.0, math.radians(18))).to_quaternion()


g.run(steps())
