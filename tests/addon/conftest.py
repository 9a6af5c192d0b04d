"""A small made-up head as a result folder, and a way to run a piece of code in each Blender."""

import json
import os
import signal
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.environment import clean_variables
from backend.rendering.camera import Camera
from backend.result_folder import Corrective, FaceModelCredit, HeadResult, PhotographResult, write_result

from .made_up_heads import assembled, ball, random_offsets, strip

SCENARIOS = Path(__file__).with_name("blender_scenarios.py")
BLENDER_VERSIONS = ("4.2", "4.5", "5.0")
ARKIT_KEYS = tuple(
    "browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft "
    "cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight "
    "eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft "
    "eyeWideRight jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft "
    "mouthFrownRight mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight "
    "mouthPucker mouthRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft "
    "mouthSmileRight mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft "
    "noseSneerRight tongueOut".split()
)
PHOTOGRAPH_VALUES = (
    {"eyeBlinkLeft": 0.25, "jawOpen": 0.5, "mouthSmileRight": 1.0, "eyeBlinkLeftCorrective": 0.75},
    {"browInnerUp": 0.125, "tongueOut": 0.75},
)


@pytest.fixture(scope="session")
def made_up_head() -> HeadResult:
    """Every part, quads and triangles, UV seams, 52 keys and 2 correctives, two photographs; nothing symmetric."""
    random = np.random.default_rng(4)
    patches = {
        "skin": ball((0.0, -0.03, -0.07), (0.08, 0.13, 0.1), rings=14, columns=20),
        "mouth_inside": ball((0.0, -0.07, 0.0), (0.02, 0.015, 0.02), rings=5, columns=8),
        "eyeball_left": ball((0.031, 0.0, 0.0), (0.012, 0.012, 0.012), rings=6, columns=9),
        "eyeball_right": ball((-0.031, 0.0, 0.0), (0.012, 0.012, 0.012), rings=6, columns=9),
        "teeth_upper": ball((0.0, -0.062, 0.012), (0.02, 0.004, 0.01), rings=4, columns=7),
        "teeth_lower": ball((0.0, -0.072, 0.011), (0.02, 0.004, 0.01), rings=4, columns=7),
        "tongue": ball((0.001, -0.068, 0.005), (0.01, 0.003, 0.012), rings=4, columns=6),
        "lashes": strip((0.02, 0.01, 0.024), columns=6, rows=2),
    }
    mesh = assembled(patches, random)
    vertices = mesh["vertices"]
    names = (*ARKIT_KEYS, "eyeBlinkLeftCorrective", "eyeBlinkRightCorrective")
    key_index, key_offset = random_offsets(len(names), len(vertices), random)
    weights = np.zeros((2, len(names)), np.float32)
    for photograph, values in enumerate(PHOTOGRAPH_VALUES):
        for name, value in values.items():
            weights[photograph, names.index(name)] = value
    first = Camera.orbit(0.2, -0.1, 0.7, 300, 400, focal_35mm=50)
    first.cx, first.cy = 141.5, 214.25
    second = Camera.orbit(-0.6, 0.25, 0.5, 420, 280, focal_35mm=35)
    second.fy *= 1.25
    return HeadResult(
        **mesh,
        key_names=names,
        key_index=key_index,
        key_offset=key_offset,
        key_weights=weights,
        landmarks68=vertices[:68].copy(),
        face_model=FaceModelCredit("made_up", "CC0-1.0", "Anyone may use it.", True),
        photographs=(
            PhotographResult("photo_1.jpg", first, "none", 0.01, {"left": 0.25, "right": 0.0}),
            PhotographResult("photo_2.jpg", second, "none", 0.02, {"left": 0.0, "right": 0.0}),
        ),
        correctives={f"eyeBlink{side}Corrective": Corrective(f"eyeBlink{side}") for side in ("Left", "Right")},
        software={"lifemask": "0.1.0"},
        weights={},
        timings={"fitting": 1.5},
        warnings=("A sentence.",),
    )


@pytest.fixture(scope="session")
def result_folder(made_up_head: HeadResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up head as a complete result folder, in a place whose name is not ASCII. Not to be changed."""
    folder = tmp_path_factory.mktemp("Köpfe und Gesichter")
    write_made_up_result(folder, made_up_head)
    return folder


def write_made_up_result(folder: Path, head: HeadResult) -> None:
    write_result(folder, head)
    random = np.random.default_rng(1)
    Image.fromarray(random.integers(90, 220, (64, 64, 3), dtype=np.uint8)).save(folder / "albedo.png")
    for photograph in head.photographs:
        size = (photograph.camera.width, photograph.camera.height)
        Image.new("RGB", size, (120, 90, 70)).save(folder / photograph.file)


@pytest.fixture(scope="session", params=BLENDER_VERSIONS)
def blender_version(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def in_blender(blender_python, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict]:
    """A function that runs one scenario of blender_scenarios.py in a Blender and returns what it measured.

    `script` is another file of scenarios. Arrays come back as arrays, everything else as JSON has it.
    """

    def run(version: str, scenario: str, script: Path = SCENARIOS, **arguments: str | Path) -> dict:
        folder = tmp_path_factory.mktemp(f"{scenario}-{version}")
        (folder / "resources" / "config").mkdir(parents=True)
        variables = clean_variables()
        variables["BLENDER_USER_RESOURCES"] = str(folder / "resources")
        variables["PYTHONFAULTHANDLER"] = "1"
        values = {name: str(value) for name, value in arguments.items()}
        command = [blender_python(version), script, scenario, json.dumps(values), folder / "measured"]
        ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, check=False)
        if ended.returncode == -signal.SIGSEGV:
            # Now and then Blender itself dies while it goes through its paint modes without a window.
            told = f"{scenario}: Blender {version} crashed and was started again.\n{ended.stderr[-3000:]}"
            warnings.warn(told, stacklevel=2)
            ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, check=False)
        assert ended.returncode == 0, (
            f"{scenario} in Blender {version}:\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
        )
        measured = json.loads((folder / "measured.json").read_text("utf-8"))
        with np.load(folder / "measured.npz", allow_pickle=False) as arrays:
            measured.update({name: arrays[name] for name in arrays.files})
        return measured

    os.environ.pop("PYTHONHOME", None)
    return run
