"""Skin detail on a head in Blender: drivers, the panel, what is baked, exported and updated."""

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from addon.displacement_maps import DisplacementMaps, sample
from addon.result import ResultError, read_result
from backend.displacement_file import write_displacement
from backend.result_folder import DisplacementFacts, HeadResult

from .conftest import write_made_up_result
from .made_up_heads import assembled, ball, random_offsets

SCRIPT = Path(__file__).with_name("detail_scenarios.py")
SIZE = 64
KEYS = ("browInnerUp", "browOuterUpLeft", "browOuterUpRight", "mouthPucker", "jawOpen", "eyeBlinkLeft",
        "eyeBlinkLeftCorrective")  # fmt: skip
GROUPS = {
    "brows_up": {"left": ("browInnerUp", "browOuterUpLeft"), "right": ("browInnerUp", "browOuterUpRight")},
    "pucker": {"left": ("mouthPucker",), "right": ("mouthPucker",)},
}
SAME_PLACE_METRES = 2e-6


def made_up_maps(neutral: float = 1e-4, groups=GROUPS) -> dict[str, np.ndarray]:
    """Smooth maps, first row at v = 1: waves in different directions, metres."""
    v, u = np.meshgrid(1 - (np.arange(SIZE) + 0.5) / SIZE, (np.arange(SIZE) + 0.5) / SIZE, indexing="ij")
    waves = {
        "neutral": neutral + 2e-3 * np.sin(4 * np.pi * u),
        "photo": neutral * (1 + np.sin(4 * np.pi * v)),
        "brows_up": neutral + 3e-3 * np.sin(6 * np.pi * v) ** 2,
        "pucker": neutral + 2e-3 * np.sin(6 * np.pi * u) ** 2,
    }
    return {name: waves[name].astype(np.float32) for name in ("photo", "neutral", *groups)}


def write_folder(folder: Path, head: HeadResult, maps: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    write_made_up_result(folder, head)
    if head.displacement:
        (folder / "displacement").mkdir()
        for name, values in maps.items():
            write_displacement(folder / "displacement" / f"{name}.exr", values)
    return folder


@pytest.fixture(scope="module")
def head_with_detail(made_up_head) -> HeadResult:
    """A skin over the whole UV square, an eyeball under it, seven keys."""
    random = np.random.default_rng(11)
    patches = {
        "skin": ball((0.0, 0.0, 0.0), (0.08, 0.11, 0.09), rings=10, columns=14),
        "eyeball_left": ball((0.03, 0.0, 0.08), (0.012, 0.012, 0.012), rings=5, columns=7),
    }
    mesh = assembled(patches, random)
    mesh["uv"][: 11 * 15] *= (2.0, 1.0)
    index, offset = random_offsets(len(KEYS), len(mesh["vertices"]), random)
    return replace(
        made_up_head,
        **mesh,
        key_names=KEYS,
        key_index=index,
        key_offset=offset,
        key_weights=np.zeros((2, len(KEYS)), np.float32),
        correctives={"eyeBlinkLeftCorrective": made_up_head.correctives["eyeBlinkLeftCorrective"]},
        landmarks68=mesh["vertices"][:68].copy(),
        displacement=DisplacementFacts(SIZE, GROUPS),
    )


@pytest.fixture(scope="module")
def folders(head_with_detail, tmp_path_factory) -> dict[str, Path]:
    """Result folders: with detail, with other maps, with fewer groups, with none."""
    root = tmp_path_factory.mktemp("details")
    only = {"brows_up": GROUPS["brows_up"]}
    fewer = replace(head_with_detail, displacement=DisplacementFacts(SIZE, only))
    made = {
        "result": (head_with_detail, made_up_maps()),
        "other": (head_with_detail, made_up_maps(neutral=3e-4)),
        "fewer": (fewer, made_up_maps(groups=only)),
        "plain": (replace(head_with_detail, displacement=None), {}),
    }
    for name, (head, maps) in made.items():
        write_folder(root / name, head, maps)
    return {name: root / name for name in made}


@pytest.fixture(scope="module", params=("4.2", "5.0"))
def blender_version(request: pytest.FixtureRequest) -> str:
    """The oldest and the newest: what is between them has the interfaces of both."""
    return request.param


@pytest.fixture(scope="module")
def living(in_blender, blender_version, folders, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp(f"living-{blender_version}")
    return in_blender(blender_version, "living", script=SCRIPT, folder=folder, **folders)


@pytest.fixture(scope="module")
def baked(in_blender, blender_version, folders, tmp_path_factory) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp(f"baked-{blender_version}")
    return in_blender(blender_version, "baked", script=SCRIPT, result=folders["result"], folder=folder), folder


def maps_of_blender() -> DisplacementMaps:
    """The maps as Blender has them: bottom row first."""
    keys = {name: (sides["left"], sides["right"]) for name, sides in GROUPS.items()}
    return DisplacementMaps({name: values[::-1] for name, values in made_up_maps().items()}, keys)


def changed(head: dict, name: str, value) -> dict:
    """The section with one entry changed, or without it."""
    section = dict(head)
    if value is None:
        del section[name]
    else:
        section[name] = value
    return section


def test_a_section_that_is_not_there_is_no_detail_and_one_that_is_names_maps_and_keys(folders):
    assert read_result(folders["plain"]).displacement is None
    detail = read_result(folders["result"]).displacement
    assert set(detail.maps) == {"photo", "neutral", *GROUPS} and all(path.is_file() for path in detail.maps.values())
    assert detail.groups["brows_up"].left == GROUPS["brows_up"]["left"] and detail.left_is_greater_u


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("groups", None, "is not complete: 'groups'. Make the head again."),
        ("neutral", None, "is not complete: 'neutral'"),
        ("left_is", "up", "is not complete: 'up'"),
        ("photo", "displacement/gone.exr", "map photo is not in"),
        ("photo", "../albedo.png", "map photo is not in"),
        ("groups", [], "is not complete"),
        ("groups", {"pucker": {"file": "pucker.exr", "left": "mouthPucker", "right": []}}, "no list of shape keys"),
        ("groups", {"pucker": {"file": "pucker.exr", "left": ["kiss"], "right": ["kiss"]}}, "follows kiss, which"),
    ],
)  # fmt: skip
def test_a_broken_section_is_refused_in_a_sentence(folders, tmp_path, name, value, words):
    folder = Path(shutil.copytree(folders["result"], tmp_path / "broken"))
    facts = json.loads((folder / "head.json").read_text("utf-8"))
    facts["displacement"] = changed(facts["displacement"], name, value)
    (folder / "head.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(ResultError) as refused:
        read_result(folder)
    assert words in str(refused.value)


def test_a_map_that_is_no_openexr_picture_is_refused(folders, tmp_path):
    folder = Path(shutil.copytree(folders["result"], tmp_path / "broken"))
    shutil.copy(folder / "albedo.png", folder / "displacement" / "neutral.exr")
    with pytest.raises(ResultError, match="neutral.exr is no OpenEXR picture"):
        read_result(folder)


@pytest.mark.blender
def test_wrinkles_follow_the_greatest_key_of_their_side(living):
    factors = living["factors"]
    sides = lambda name, group="brows_up": [factors[name][f"{group} {side}"] for side in ("left", "right")]  # noqa: E731
    assert sides("neutral") == sides("neutral", "pucker") == [0.0, 0.0]
    assert sides("inner") == [0.5, 0.5]
    assert sides("left more") == [0.75, 0.5]
    assert sides("right") == [0.0, 1.0]
    assert sides("pucker", "pucker") == [0.25, 0.25] and sides("pucker") == [0.0, 0.0]
    assert [factors["neutral"][name] for name in ("Strength", "Photograph")] == [1.0, 0.0]
    assert [factors["sliders"][name] for name in ("Strength", "Photograph")] == [1.5, 0.25]
    assert living["slider"] == [0.0, 2.0, 1.0]


@pytest.mark.blender
def test_drivers_are_valid_and_need_no_permission_also_without_one_of_their_keys(living):
    assert len(living["valid"]) == 6 and all(living["valid"]) and all(living["need_no_permission"])
    assert living["factors"]["without a key"]["brows_up left"] == 0.5


@pytest.mark.blender
def test_maps_arrive_as_they_are_and_are_packed_with_the_head(living):
    assert living["method"] == "BOTH" and living["modifiers"] == 0
    for name, values in made_up_maps().items():
        assert living["pictures"][name] == [[SIZE, SIZE], "Non-Color", True]
        assert np.array_equal(living[f"map_{name}"], values[::-1])


@pytest.mark.blender
def test_a_copy_of_a_head_follows_the_original_until_it_gets_detail_of_its_own(living):
    assert living["follows"] == [True, False, True, True]
    assert living["shared"] == [False, False]
    assert living["factors"]["of copy"]["pucker left"] == 1.0
    assert living["factors"]["of original"]["pucker left"] == 0.25
    operators = lambda name: [entry["operator"] for entry in living["panel"][name]["operators"]]  # noqa: E731
    baking = ["lifemask.bake_detail_mesh", "lifemask.bake_normal_map"]
    assert operators("copy") == ["lifemask.own_detail", *baking] and operators("copy with its own") == baking
    assert living["panel"]["copy"]["properties"] == [
        'Object.["lifemask_detail_strength"]',
        'Object.["lifemask_detail_photograph"]',
    ]


@pytest.mark.blender
def test_a_head_without_detail_is_as_before(living):
    assert living["plain"] == [True, True, 3, [], True]


@pytest.mark.blender
def test_the_dense_mesh_is_the_smooth_head_moved_by_its_map_in_every_key(baked):
    measured, _ = baked
    maps = maps_of_blender()
    corner, uv = measured["dense_corner"], measured["dense_corner_uv"]
    is_skin = np.repeat(measured["dense_face_material"], measured["dense_face_sides"]) == 0
    count = np.bincount(corner[is_skin], minlength=len(measured["dense_vertices"]))
    shift = np.array([measured["dense_vertices"][:, axis].mean() for axis in range(3)])
    for name, key, values in (
        ("rest", "Basis", {}),
        ("raised", "browInnerUp", {"browInnerUp": 1.0}),
        ("jaw", "jawOpen", {}),
    ):
        metres = np.bincount(corner[is_skin], sample(maps.mixed(values), uv[is_skin]), minlength=len(count))
        expected = (
            measured[f"smooth_{name}"] + measured[f"smooth_{name}_normals"] * (metres / np.maximum(count, 1))[:, None]
        )
        found = measured["dense_key_points"][measured["dense_keys"].index(key)]
        moved = found - expected
        beside = moved.mean(axis=0)  # the copy stands beside the head
        assert beside[0] > 0.1 and np.abs(moved - beside).max() < SAME_PLACE_METRES, (name, shift)
    assert 3 < len(measured["dense_vertices"]) / len(measured["vertices"]) < 20


@pytest.mark.blender
def test_the_dense_mesh_is_a_head_with_keys_values_drivers_and_a_plain_skin(baked):
    measured, _ = baked
    assert measured["ended"] == [["FINISHED"]] * 3
    assert measured["dense_keys"] == ["Basis", *KEYS] and measured["dense_name"] == "Head detailed"
    assert measured["dense_key_values"] == pytest.approx(measured["key_values"])
    assert measured["dense_drivers"] == ["eyeBlinkLeftCorrective"]
    assert not measured["dense_detail"]
    assert measured["made"] == {"objects": 1, "meshes": 1, "materials": 1, "shape_keys": 1}


@pytest.mark.blender
def test_the_normal_map_is_that_of_the_present_expression(baked):
    measured, _ = baked
    assert measured["normal"] == ["Head normal", [SIZE, SIZE], "Non-Color", True] and measured["normal_is_png"]
    pixels, neutral = measured["normal_pixels"], measured["neutral_pixels"]
    assert pixels[..., 2].min() > 0.5 and np.abs(np.linalg.norm(2 * pixels - 1, axis=-1) - 1).max() < 0.02
    # On the made-up ball v rises downwards by 0.95 from pole to pole, about half an ellipse of 0.11 by 0.09 metres.
    v = (np.arange(SIZE) + 0.5) / SIZE
    climb = 0.5 * 3e-3 * 6 * np.pi * np.sin(12 * np.pi * v) * 0.95 / 0.314
    middle = 2 * pixels[:, SIZE // 4, 1] - 1
    inside = (v > 0.25) & (v < 0.75)
    assert np.corrcoef(middle[inside], -climb[inside])[0, 1] > 0.97
    assert np.abs(middle[inside]).max() == pytest.approx(np.abs(climb[inside]).max(), rel=0.25)
    across, up = np.abs(2 * neutral[20:44, :, :2] - 1).max(axis=(0, 1))
    assert across > 0.03 > up, "the neutral map has waves across only"


@pytest.mark.blender
def test_exports_carry_a_normal_map_and_every_key(baked):
    measured, folder = baked
    free = [name for name in KEYS if name != "eyeBlinkLeftCorrective"]
    for name in ("a.fbx", "a.glb"):
        file = measured["files"][name]
        assert file["normal"] == [["NORMAL_MAP", [SIZE, SIZE], "Non-Color"]] and not file["displaced"]
        assert file["keys"][1:] == free
        assert list(file["images"].values()).count([SIZE, SIZE]) == 2
    content = (folder / "a.glb").read_bytes()
    described = json.loads(content[20 : 20 + struct.unpack("<I", content[12:16])[0]])
    skin, eyeball = (next(m for m in described["materials"] if m["name"] == n) for n in ("skin", "eyeball_left"))
    assert "normalTexture" in skin and "normalTexture" not in eyeball
    assert "map_Bump" in (folder / "a.mtl").read_text() and (folder / "a_normal.png").is_file()
    assert "a_normal.png" in measured["files"]["a.usd"]["images"]
    assert measured["warnings"]["a.glb"] == [] and measured["export_changed"] == {}
    notes = {name: json.loads((folder / f"{name}.json").read_text("utf-8")) for name in measured["files"]}
    assert {name: note["skin_detail"] for name, note in notes.items()} == dict.fromkeys(
        ("a.fbx", "a.glb", "a.obj", "a.usd"), "normal map"
    ) | {"a.blend": "material"}


@pytest.mark.blender
def test_a_blender_file_keeps_displacement_that_follows_its_own_keys(baked):
    file = baked[0]["files"]["a.blend"]
    assert file["displaced"] and file["groups"] == 1 and file["follows itself"] and file["normal"] == []
    assert file["packed"] == [True] * 4 and file["keys"] == ["Basis", *KEYS]


@pytest.mark.blender
def test_applied_displacement_is_in_the_vertices_of_the_file_and_nowhere_else(baked):
    measured, folder = baked
    assert measured["has_displacement"]
    for name, file in measured["dense_files"].items():
        assert file["vertices"] > 3 * len(measured["vertices"]) and file["normal"] == [] and not file["displaced"]
        assert len(file["keys"]) == len(KEYS)
        note = json.loads((folder / f"{name}.json").read_text("utf-8"))
        assert (note["displacement"], note["skin_detail"]) == ("applied", "vertices")


@pytest.mark.blender
def test_a_map_that_is_gone_is_told_and_stops_only_what_cannot_do_without_it(baked):
    warnings = baked[0]["warnings"]
    (warning,) = warnings["gone.glb"]
    assert "no normal map in the file: The displacement map neutral is gone" in warning
    assert "The displacement map neutral is gone" in warnings["gone.fbx"]


@pytest.mark.blender
def test_an_update_replaces_maps_and_groups_and_keeps_the_strength(living):
    measured = living
    assert measured["groups"] == {
        "other": ["brows_up", "pucker"], "fewer": ["brows_up"], "plain": None, "result": ["brows_up", "pucker"],
    }  # fmt: skip
    assert measured["neutral"] == pytest.approx({"other": 3e-4, "fewer": 1e-4, "result": 1e-4}, rel=1e-3)
    assert all(factors["brows_up left"] == 0.5 for factors in measured["after_update"].values())
    assert all(factors["Strength"] == 0.5 for factors in measured["after_update"].values())
    assert measured["same_pictures"] and measured["packed"]
    assert measured["notes"]["plain"] == ["The new figures have no skin detail, so that of Head was removed."]
    assert not (measured["notes"]["other"] or measured["notes"]["fewer"] or measured["notes"]["result"])
    assert measured["strength"] == 0.5 and measured["trees"] == 1


@pytest.mark.blender
def test_cycles_shows_detail_and_wrinkles_on_the_side_whose_key_is_raised(living):
    flat, neutral, left, right = (
        living[f"rendered {name}"].mean(axis=-1) for name in ("flat", "neutral", "left", "right")
    )
    assert np.abs(neutral - flat).max() > 0.02
    column = np.arange(flat.shape[1])
    middle = [(np.abs(picture - neutral) * column).sum() / np.abs(picture - neutral).sum() for picture in (left, right)]
    # On the made-up ball u > 0.5, the subject's left half of every map, lies at -X: on the left of the picture.
    assert np.abs(left - neutral).max() > 0.02 < np.abs(right - neutral).max()
    assert middle[1] - middle[0] > 0.08 * flat.shape[1]
