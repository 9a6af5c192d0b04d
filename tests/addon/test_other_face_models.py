"""Heads of other face models in Blender: triangles, missing parts, parts of other names, eyes that are painted on.

The meshes are made up, with the parts and the kinds of faces that the models have.
"""

from pathlib import Path

import numpy as np
import pytest

from backend.licences import Credit
from backend.rendering.camera import Camera
from backend.result_folder import Corrective, FaceModelCredit, HeadResult, PhotographResult

from .conftest import ARKIT_KEYS, write_made_up_result
from .made_up_heads import assembled, ball, random_offsets, strip, triangles

pytestmark = pytest.mark.blender
SCENARIOS = Path(__file__).with_name("face_model_scenarios.py")
SMALLEST_MOTION_METRES = 1e-7
KEYS = (*ARKIT_KEYS, "eyeBlinkLeftCorrective", "eyeBlinkRightCorrective")
SKIN = ((0.0, -0.03, -0.07), (0.08, 0.13, 0.1))
EYES = {"left": (0.031, 0.0, 0.0), "right": (-0.031, 0.0, 0.0)}
NEUTRAL_SENTENCE = "Anyone may use and sell it."
FORBIDDING = {
    "flame": ("FLAME 2023", "For research that is not commercial."),
    "bfm": ("Basel Face Model 2009", "For those who signed its form."),
}


def flame_like() -> dict:
    """Triangles: skin and two eyeballs, nothing in the mouth, no lashes."""
    patches = {"skin": ball(*SKIN, rings=14, columns=20)}
    patches |= {f"eyeball_{side}": ball(centre, (0.012,) * 3, rings=6, columns=9) for side, centre in EYES.items()}
    return {name: triangles(patch) for name, patch in patches.items()}


def bfm_like() -> dict:
    """One part of triangles; the eyes are a piece of the skin, and of its texture."""
    return {"skin": triangles(ball(*SKIN, rings=18, columns=24))}


def ict_like() -> dict:
    """Quads and triangles, both rows of teeth in one part, gums and tongue in another, lashes that are no strips."""
    patches = {"skin": ball(*SKIN, rings=14, columns=20)}
    for side, (x, y, z) in EYES.items():
        patches[f"eye_socket_{side}"] = ball((x, y, z - 0.004), (0.014,) * 3, rings=5, columns=8)
    patches["mouth_inside"] = ball((0.0, -0.07, 0.0), (0.02, 0.015, 0.02), rings=5, columns=8)
    patches |= {f"eyeball_{side}": ball(centre, (0.012,) * 3, rings=6, columns=9) for side, centre in EYES.items()}
    patches["teeth"] = ball((0.0, -0.066, 0.012), (0.02, 0.009, 0.01), rings=4, columns=7)
    patches["gums_tongue"] = ball((0.001, -0.068, 0.005), (0.018, 0.011, 0.012), rings=4, columns=6)
    patches["lashes"] = triangles(strip((0.02, 0.01, 0.024), columns=6, rows=2))
    return patches


MODELS = {"flame": flame_like, "bfm": bfm_like, "ict": ict_like}


def made_up(kind: str) -> HeadResult:
    """A head of that kind. tongueOut moves something where there is a tongue only."""
    random = np.random.default_rng(9)
    mesh = assembled(MODELS[kind](), random)
    key_index, key_offset = random_offsets(len(KEYS), len(mesh["vertices"]), random)
    if kind != "ict":
        moves = key_index[:, 0] != KEYS.index("tongueOut")
        key_index, key_offset = key_index[moves], key_offset[moves]
    weights = np.zeros((1, len(KEYS)), np.float32)
    weights[0, KEYS.index("jawOpen")] = 0.5
    label, sentence = FORBIDDING.get(kind, ("ICT-FaceKit", NEUTRAL_SENTENCE))
    commercial = kind not in FORBIDDING
    return HeadResult(
        **mesh,
        key_names=KEYS,
        key_index=key_index,
        key_offset=key_offset,
        key_weights=weights,
        landmarks68=mesh["vertices"][:68].copy(),
        face_model=FaceModelCredit(kind, "its licence", sentence, commercial),
        photographs=(
            PhotographResult(
                "photo_1.jpg", Camera.orbit(0.2, -0.1, 0.7, 300, 400, focal_35mm=50), "none", 0.01,
                {"left": 0.0, "right": 0.0},
            ),
        ),
        licences=(
            Credit(f"face model {label}", "its licence", sentence, commercial),
            Credit("detector MediaPipe", "Apache-2.0", NEUTRAL_SENTENCE, True),
        ),
        correctives={f"eyeBlink{side}Corrective": Corrective(f"eyeBlink{side}") for side in ("Left", "Right")},
    )  # fmt: skip


@pytest.fixture(scope="module", params=sorted(MODELS))
def head(request) -> tuple[str, HeadResult]:
    return request.param, made_up(request.param)


@pytest.fixture(scope="module")
def folder(head, tmp_path_factory) -> Path:
    kind, result = head
    folder = tmp_path_factory.mktemp(f"result {kind}")
    write_made_up_result(folder, result)
    return folder


@pytest.fixture(scope="module")
def measured(in_blender, blender_version, folder, tmp_path_factory) -> dict:
    target = tmp_path_factory.mktemp("Köpfe")
    return in_blender(blender_version, "out_and_in", SCENARIOS, result=folder, folder=target)


@pytest.fixture(scope="module")
def recorded(in_blender, blender_version, folder) -> dict:
    return in_blender(blender_version, "record", SCENARIOS, result=folder)


def test_a_head_of_any_face_model_is_built_with_its_own_faces_and_parts(head, measured):
    _, result = head
    used = result.faces >= 0
    assert np.array_equal(measured["face_sides"], used.sum(axis=1))
    assert np.array_equal(measured["loop_vertex"], result.faces[used])
    assert np.abs(measured["loop_uv"] - result.uv[result.face_uv[used]]).max() < 1e-6
    assert tuple(measured["materials"]) == result.part_names == tuple(measured["groups"])
    assert measured["keys"] == ["Basis", *KEYS]
    assert measured["key_values"][measured["keys"].index("jawOpen")] == 0.5


def test_the_texture_is_on_every_part_but_lashes_that_are_no_strips_and_those_are_dark(head, measured):
    _, result = head
    assert measured["textured"] == {part: part != "lashes" for part in result.part_names}
    assert not any(measured["cut_out"]) and measured["uv_layers"] == ["UVMap"]


@pytest.mark.parametrize("preset", ["fbx", "glb", "usd", "blend", "faceit"])
def test_every_key_is_in_the_file_by_name_even_one_that_moves_nothing(head, measured, preset):
    kind, result = head
    free = [name for name in KEYS if not name.endswith("Corrective")]
    assert measured[f"{preset}_keys"][1:] == (list(KEYS) if preset == "blend" else free)
    points = measured[f"{preset}_key_points"]
    motion = np.abs(points - points[:1]).max(axis=(1, 2))
    idle = {name for name, moved in zip(measured[f"{preset}_keys"], motion, strict=True) if moved < 2e-6}
    assert idle - {measured[f"{preset}_keys"][0]} == (set() if kind == "ict" else {"tongueOut"})


@pytest.mark.parametrize("preset", ["fbx", "glb", "obj", "usd", "blend", "faceit"])
def test_files_hold_the_whole_head_with_its_materials(head, measured, preset):
    _, result = head
    assert np.ptp(measured[f"{preset}_vertices"], axis=0) == pytest.approx(
        np.ptp(result.vertices[:, [0, 2, 1]], axis=0), abs=1e-5
    )
    assert sorted(measured[f"{preset}_materials"]) == sorted(result.part_names)
    assert np.sum(measured[f"{preset}_face_sides"] - 2) == np.sum((result.faces >= 0).sum(axis=1) - 2)


def test_separate_parts_are_the_parts_of_the_model_and_keep_idle_keys_once(head, measured):
    kind, result = head
    keys = measured["separate_keys_of"]
    assert sorted(keys) == sorted(f"Head_{part}" for part in result.part_names)
    holders = [name for name, names in keys.items() if "tongueOut" in names]
    assert holders == ["Head_skin"] if kind != "ict" else holders
    assert {key for names in keys.values() for key in names} == {n for n in KEYS if not n.endswith("Corrective")}


def test_a_preset_that_wants_parts_the_head_has_not_says_so_and_writes_the_rest(head, measured):
    kind, result = head
    kept = [part for part in result.part_names if not part.startswith(("lashes", "teeth", "tongue", "gums"))]
    assert sorted(measured["metahuman_materials"]) == sorted(kept)
    assert [len(measured["warnings"][name]) for name in ("fbx", "glb", "obj", "usd", "blend")] == [0] * 5
    metahuman, faceit = (" ".join(measured["warnings"][name]) for name in ("metahuman", "faceit"))
    if kind == "bfm":
        assert "no eyeballs" in metahuman and "left eyeball" in faceit
        assert measured["notes"]["metahuman"]["lacks"] == ["eyeballs"]
    else:
        assert metahuman == "" and "eyeball" not in faceit
    assert "separate upper teeth" in faceit and ("tongue" in faceit) == (kind != "ict")
    wanted = {"skin": "faceit_main", "eyeball_left": "faceit_left_eyeball", "lashes": "faceit_eyelashes"}
    assert {wanted[part] for part in result.part_names if part in wanted} <= set(measured["faceit_groups"])


def test_the_note_beside_a_file_names_the_model_and_every_licence(head, measured):
    kind, result = head
    for note in measured["notes"].values():
        assert note["face_model"] == kind and note["may_be_used_commercially"] == (kind not in FORBIDDING)
        assert note["face_model_label"] == FORBIDDING.get(kind, ("ICT-FaceKit",))[0]
        assert note["licences"] == [each.as_json() for each in result.licences]


def test_the_panel_of_a_head_names_its_model_and_says_whether_it_may_be_sold(head, recorded):
    kind, result = head
    words = " ".join(recorded["texts"])
    label = FORBIDDING.get(kind, ("ICT-FaceKit",))[0]
    assert f"Face model: {label}" in recorded["texts"] and recorded["label"] == label
    assert result.face_model.sentence in words
    assert ("may not be sold" in words) == (kind in FORBIDDING) != ("head may be sold" in words)
    assert recorded["may_be_sold"] == (kind not in FORBIDDING)
    assert label in recorded["asset"] and ("may not be sold" in recorded["asset"]) == (kind in FORBIDDING)


def test_a_record_without_licences_or_of_a_newer_version_is_read(head, recorded):
    kind, _ = head
    assert recorded["older"] == [kind, [], kind not in FORBIDDING]
