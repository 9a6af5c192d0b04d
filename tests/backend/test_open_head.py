"""The open head as it ships: its mesh, its texture layout, its people, its shapes, its measures."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.errors import SetupError, UsageError
from backend.face_mesh_points import MIRROR
from backend.face_models import load_face_model
from backend.face_models.eyes import GAZE_KEY_DEGREES, gaze_rotation
from backend.face_models.morphable_model import KeyOffsets, split_quads
from backend.face_models.open_head import ASSET, OpenHead
from backend.rendering.camera import Camera
from backend.rendering.rasterizer import rasterize, rasterize_screen

ARKIT = """
browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft cheekSquintRight
eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight eyeLookOutLeft eyeLookOutRight
eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight jawForward jawLeft jawOpen jawRight
mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft mouthLowerDownLeft
mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight mouthRollLower mouthRollUpper mouthShrugLower
mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight
noseSneerLeft noseSneerRight tongueOut
""".split()
CLOSED_PARTS = ("eyeball_left", "eyeball_right", "tongue")

# Means of women and men in equal parts, millimetres. Head and face: Zhuang and Bradtmiller, "Head-and-Face
# Anthropometric Survey of U.S. Respirator Users", Journal of Occupational and Environmental Hygiene 2 (2005), 3,997
# people (NIOSH). Pupil distance: Gordon et al., "2012 Anthropometric Survey of U.S. Army Personnel" (ANSUR II), 6,068.
MEASURED_MM = {
    "head breadth": 149.9,
    "bizygomatic breadth": 139.3,
    "menton to sellion": 118.1,
    "head length": 192.4,
    "interpupillary distance": 62.9,
}
TOLERANCE = 0.05


@pytest.fixture(scope="module")
def model() -> OpenHead:
    return load_face_model("open_head")


@pytest.fixture(scope="module")
def average(model):
    return model.neutral(np.zeros(model.identity_size))


@pytest.fixture(scope="module")
def average_keys(model, average):
    keys = model.key_offsets(average)
    return dict(zip(keys.names, keys.dense(len(average)), strict=True))


def random_people(model, count, first_seed=7000):
    for seed in range(first_seed, first_seed + count):
        yield model.neutral(np.random.default_rng(seed).standard_normal(model.identity_size))


def open_edges(faces):
    edges = np.sort(np.concatenate([faces[:, [k, (k + 1) % 4]] for k in range(4)]), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    assert count.max() <= 2, "an edge has more than two faces"
    return unique[count == 1]


# Loading --------------------------------------------------------------------------------------------------------------


def test_an_unknown_model_is_named_in_the_error():
    with pytest.raises(UsageError, match="nobody"):
        load_face_model("nobody")


def test_a_missing_asset_is_told(tmp_path):
    with pytest.raises(SetupError, match="open_head.npz"):
        OpenHead(tmp_path / "open_head.npz")


# The mesh -------------------------------------------------------------------------------------------------------------


def test_every_face_is_a_quad_of_four_vertices(model):
    faces = model.topology.faces
    assert faces.min() >= 0
    assert (np.sort(faces, axis=1)[:, 1:] != np.sort(faces, axis=1)[:, :-1]).all()
    assert len(np.unique(faces)) == len(model.mean) == faces.max() + 1


def test_parts_cover_all_faces_in_order(model):
    ranges = model.topology.part_faces
    assert ranges[0, 0] == 0 and ranges[-1, 1] == len(model.topology.faces)
    assert (ranges[1:, 0] == ranges[:-1, 1]).all() and (ranges[:, 1] > ranges[:, 0]).all()
    expected = (
        "skin",
        "mouth_inside",
        "eyeball_left",
        "eyeball_right",
        "teeth_upper",
        "teeth_lower",
        "tongue",
        "lashes",
    )
    assert model.topology.part_names == expected


def test_skin_and_mouth_are_one_surface_open_at_the_neck_alone_in_one_closed_loop(model):
    topology = model.topology
    surface = np.concatenate([topology.faces[topology.part("skin")], topology.faces[topology.part("mouth_inside")]])
    rim = open_edges(surface)
    vertices, degree = np.unique(rim, return_counts=True)
    assert (degree == 2).all()
    neighbours = {int(v): set() for v in vertices}
    for a, b in rim.tolist():
        neighbours[a].add(b)
        neighbours[b].add(a)
    walked, ahead = [int(vertices[0])], min(neighbours[int(vertices[0])])
    while ahead != walked[0]:
        walked.append(ahead)
        ahead = next(v for v in neighbours[ahead] if v != walked[-2])
    assert len(walked) == len(vertices), "the open edge is more than one loop"
    assert model.masks["neck"][vertices].all()
    assert model.mean[vertices, 1].max() < -0.08


@pytest.mark.parametrize("part", CLOSED_PARTS)
def test_eyeballs_and_tongue_are_closed(model, part):
    assert len(open_edges(model.topology.faces[model.topology.part(part)])) == 0


def test_surfaces_face_outwards(model, average):
    for part in ("skin", *CLOSED_PARTS):
        quads = split_quads(model.topology.faces[model.topology.part(part)])
        points = average[quads].astype(float) - average[quads].mean(axis=(0, 1))
        assert np.einsum("tc,tc->", np.cross(points[:, 0], points[:, 1]), points[:, 2]) > 0


def test_the_mirror_maps_vertices_and_faces_onto_each_other(model, average):
    mirror, faces = model.mirror, model.topology.faces
    assert (mirror[mirror] == np.arange(len(mirror))).all()
    assert np.abs(average[mirror] * [-1, 1, 1] - average).max() < 5e-5
    assert {tuple(sorted(face)) for face in mirror[faces].tolist()} == {tuple(sorted(face)) for face in faces.tolist()}
    middle = mirror == np.arange(len(mirror))
    assert np.abs(average[middle, 0]).max() < 1e-6


# The texture layout ---------------------------------------------------------------------------------------------------


def test_no_texel_belongs_to_two_triangles(model):
    """Drawn front to back and back to front, every texel shows the same triangle."""
    size = 1024
    triangles = torch.as_tensor(model.topology.triangle_uv)
    screen = (torch.as_tensor(model.topology.uv.astype(np.float64)) * size)[triangles].reshape(1, -1, 2)
    own = torch.arange(3 * len(triangles)).reshape(-1, 3)
    seen = []
    for sign in (1.0, -1.0):
        depth = sign * torch.arange(len(triangles), dtype=torch.float64).repeat_interleave(3)[None] + 1e5
        seen.append(rasterize_screen(screen, depth, own, (size, size), perspective=False).face_index[0])
    assert (seen[0] == seen[1]).all()


def test_no_corner_of_a_quad_is_folded_in_the_texture(model):
    quads = model.topology.uv[model.topology.face_uv].astype(np.float64)
    for k in range(4):
        one, other = quads[:, (k + 1) % 4] - quads[:, k], quads[:, (k + 3) % 4] - quads[:, k]
        assert (one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0] > 0).all()


def test_texture_coordinates_lie_in_the_square_and_the_face_takes_half_of_it(model):
    uv, faces = model.topology.uv, model.topology.faces
    assert uv.min() >= 0 and uv.max() <= 1
    quads = uv[model.topology.face_uv].astype(np.float64)
    one, other = quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1]
    area = (one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]) / 2
    assert area[model.masks["face"][faces].all(axis=1)].sum() >= 0.5


def test_no_seam_runs_through_the_face(model):
    """Every vertex of the face has one place in the texture; but for the lip line, where the mouth's inside begins."""
    topology = model.topology
    rows = topology.part("skin")
    places = {}
    for face, corners in zip(topology.faces[rows].tolist(), topology.face_uv[rows].tolist(), strict=True):
        for vertex, corner in zip(face, corners, strict=True):
            places.setdefault(vertex, set()).add(corner)
    seam = np.array([vertex for vertex, corners in places.items() if len(corners) > 1])
    assert len(seam) > 20
    on_socket = np.isin(seam, topology.faces[model.data["socket_faces"]])
    assert not model.masks["face"][seam[~on_socket]].any()
    rear = seam[~on_socket]
    assert model.mean[rear, 2].max() < -0.05
    assert np.abs(model.mean[rear, 0]).max() < 1e-5


def test_the_layout_of_the_skin_is_symmetric(model):
    topology = model.topology
    face = np.flatnonzero(model.masks["face"])
    place = np.full((len(model.mean), 2), np.nan)
    rows = topology.part("skin")
    sockets = np.isin(np.arange(len(topology.faces))[rows], model.data["socket_faces"])
    outer, outer_uv = topology.faces[rows][~sockets], topology.face_uv[rows][~sockets]
    place[outer] = topology.uv[outer_uv]
    assert np.allclose(place[face] * [-1, 1] + [1, 0], place[model.mirror[face]], atol=1e-6)


# People ---------------------------------------------------------------------------------------------------------------


def test_identity_modes_are_orthogonal_over_the_skin(model):
    skin = model.topology.part_vertices("skin")
    modes = model.identity_basis[:, skin].reshape(model.identity_size, -1).astype(np.float64)
    products = modes @ modes.T
    norms = np.sqrt(np.diag(products))
    assert np.abs(products / np.outer(norms, norms) - np.eye(len(norms))).max() < 0.02
    assert (np.diff(norms) < 1e-5 * norms[0]).all(), "modes are sorted, the strongest first"


def test_people_vary_by_millimetres(model):
    """One standard deviation over all modes moves the face by as much as people differ: 2 to 9 mm a vertex."""
    face = model.masks["face"]
    spread = np.sqrt((model.identity_basis[:, face].astype(np.float64) ** 2).sum(axis=(0, 2)))
    assert 0.002 < spread.mean() < 0.009


def test_the_origin_lies_between_eyeballs_of_human_size(model):
    for neutral in random_people(model, 5):
        centres = model.eye_centres(neutral)
        assert np.abs(centres.mean(axis=0)).max() < 1e-6
        for side, centre in zip(("left", "right"), centres, strict=True):
            reach = np.linalg.norm(neutral[model.eyeballs[side]] - centre, axis=1)
            assert np.abs(reach / 0.012 - 1).max() <= 0.05
        assert centres[0, 0] > 0 > centres[1, 0]


def test_the_average_head_has_the_measures_of_people(model, average):
    points = model.landmarks478(average)
    head = average[model.masks["outer_skin"] & ~model.masks["ears"]]
    above = head[head[:, 1] > 0.0]
    cheek = head[(np.abs(head[:, 1] + 0.02) < 0.02) & (head[:, 2] > -0.085)]
    left, right = model.eye_centres(average)
    measured = {
        "head breadth": np.ptp(above[:, 0]),
        "bizygomatic breadth": np.ptp(cheek[:, 0]),
        "menton to sellion": np.linalg.norm(points[152] - points[168]),
        "head length": np.linalg.norm(head[head[:, 1] > -0.03] - points[9], axis=1).max(),
        "interpupillary distance": np.linalg.norm(left - right),
    }
    for name, value in measured.items():
        assert abs(1000 * value / MEASURED_MM[name] - 1) < TOLERANCE, f"{name}: {1000 * value:.1f} mm"


def test_teeth_tongue_and_mouth_stay_behind_shut_lips_on_random_people(model):
    """At most 2.5 square millimetres show of what lies inside: lining in the corner of the mouth, from the side."""
    square_millimetres_per_pixel = (1000 / 3200) ** 2
    hidden = [model.topology.part(name) for name in ("mouth_inside", "teeth_upper", "teeth_lower", "tongue")]
    rows = np.zeros(len(model.topology.faces), bool)
    for part in hidden:
        rows[part] = True
    triangles = torch.as_tensor(model.topology.triangles)
    inside = torch.as_tensor(rows[model.topology.triangle_face])
    seen = []
    for neutral in random_people(model, 12):
        for yaw in (-35, 0, 35):
            camera = Camera.orbit(np.radians(yaw), 0.0, 1.0, 360, focal_pixels=3200, target=(0, -0.07, 0))
            points = torch.as_tensor(camera.to_camera(neutral))[None]
            found = rasterize(points, triangles, torch.as_tensor(camera.intrinsics), camera.image_size).face_index[0]
            seen.append(int(inside[found[found >= 0]].sum()))
    shown = np.array(seen) * square_millimetres_per_pixel
    assert shown.max() < 2.5 and shown.mean() < 0.7


# Shapes ---------------------------------------------------------------------------------------------------------------


def test_keys_are_arkits_and_two_correctives(model):
    assert [name for name in model.key_names if not name.endswith("Corrective")] == ARKIT
    assert model.key_names[52:] == ("eyeBlinkLeftCorrective", "eyeBlinkRightCorrective")


@pytest.mark.parametrize("name", [name for name in ARKIT if name.endswith(("Left", "Right"))])
def test_left_is_the_subjects_left(model, average, average_keys, name):
    if name in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
        sign = 1 if name.endswith("Left") else -1
        assert sign * average_keys[name][model.masks["lips"], 0].mean() > 0.001
        return
    moved = np.linalg.norm(average_keys[name], axis=1)
    middle = (average[:, 0] * moved).sum() / moved.sum()
    assert middle > 0.004 if name.endswith("Left") else middle < -0.004


def test_right_shapes_mirror_left_shapes(model, average_keys):
    for name in ARKIT:
        if name.endswith("Left"):
            other = average_keys[name.removesuffix("Left") + "Right"][model.mirror] * [-1, 1, 1]
            assert np.abs(average_keys[name] - other).max() < 2e-4, name


def test_an_open_jaw_takes_lower_teeth_and_tongue_along(model, average_keys):
    drop = average_keys["jawOpen"][:, 1]
    assert drop[model.topology.part_vertices("teeth_lower")].mean() < -0.010
    assert drop[model.topology.part_vertices("tongue")].mean() < -0.008
    assert np.abs(drop[model.topology.part_vertices("teeth_upper")]).max() < 1e-4


def test_mouth_close_shuts_the_lips_of_an_open_jaw(model, average):
    keys = model.key_offsets(average)

    def gap(weights):
        points = model.landmarks478(keys.apply(average, weights))
        return float(points[13, 1] - points[14, 1])

    rest, wide = gap({}), gap({"jawOpen": 1.0})
    shut = gap({"jawOpen": 1.0, "mouthClose": 1.0})
    assert wide - rest > 0.02
    assert abs(shut - rest) < 0.004


@pytest.mark.parametrize(("key", "row", "direction"), [
    ("eyeLookUpLeft", 0, (0, 1)), ("eyeLookDownRight", 1, (0, -1)), ("eyeLookInLeft", 0, (-1, 0)),
    ("eyeLookOutLeft", 0, (1, 0)), ("eyeLookInRight", 1, (1, 0)), ("eyeLookOutRight", 1, (-1, 0)),
])  # fmt: skip
def test_looks_turn_the_eyeball_about_its_centre(model, average, average_keys, key, row, direction):
    side = ("left", "right")[row]
    ball, centre = model.eyeballs[side], model.eye_centres(average)[row]
    before, after = average[ball] - centre, (average + average_keys[key])[ball] - centre
    assert np.allclose(np.linalg.norm(after, axis=1), np.linalg.norm(before, axis=1), atol=2e-5)
    pupil = before[:, 2].argmax()
    turned = np.degrees(np.arccos(before[pupil] @ after[pupil] / 0.012**2))
    assert turned == pytest.approx(GAZE_KEY_DEGREES, abs=0.5)
    assert np.sign(np.round(after[pupil, :2] - before[pupil, :2], 4)).tolist() == list(direction)


def test_the_eye_rotation_is_a_rotation():
    for direction in ("Up", "Down", "ToLeft", "ToRight"):
        turn = gaze_rotation(direction)
        assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) == pytest.approx(1)
    assert gaze_rotation("Up")[1, 2] > 0 and gaze_rotation("ToLeft")[0, 2] > 0


def test_sparse_keys_add_up_as_dense_ones(model, average):
    keys = model.key_offsets(average)
    weights = np.random.default_rng(3).uniform(0, 1, len(keys.names)).astype(np.float32)
    by_hand = average + np.tensordot(weights, keys.dense(len(average)), axes=1)
    assert np.allclose(keys.apply(average, weights), by_hand, atol=1e-6)
    named = keys.apply(average, {keys.names[4]: 0.5})
    assert np.allclose(named, average + 0.5 * keys.dense(len(average))[4], atol=1e-7)
    with pytest.raises(KeyError, match="frown"):
        keys.apply(average, {"frown": 1.0})


def test_small_offsets_are_left_out_of_sparse_keys():
    dense = np.zeros((2, 4, 3))
    dense[0, 1], dense[1, 3] = (1e-3, 0, 0), (1e-9, 0, 0)
    keys = KeyOffsets.from_dense(["one", "two"], dense)
    assert keys.index.tolist() == [[0, 1]] and keys.dense(4).shape == (2, 4, 3)


# Regions and landmarks ------------------------------------------------------------------------------------------------


def test_regions_lie_where_their_names_say(model, average):
    height = {name: average[mask, 1].mean() for name, mask in model.masks.items()}
    assert height["scalp"] > 0 and height["forehead"] > height["brows"] > height["lids"] > height["nose"]
    assert height["nose"] > height["lips"] > height["neck"]
    assert average[model.masks["eye_left"], 0].min() > 0 > average[model.masks["eye_right"], 0].max()
    assert np.abs(average[model.masks["ears"], 0]).min() > 0.05
    for name, mask in model.masks.items():
        partner = re.sub("left$", "right", name)
        assert (mask[model.mirror] == model.masks[partner]).all() or name.endswith("right"), name
    outer = model.masks["outer_skin"]
    regions = ("face", "ears", "neck", "scalp")
    assert (sum(model.masks[name].astype(int) for name in regions)[outer] == 1).all()
    for name in ("lips", "lids", "brows", "forehead", "cheeks"):
        assert not (model.masks[name] & ~outer).any(), name


def test_the_68_points_are_in_ibugs_order(model, average):
    points = model.landmarks68(average)
    assert points.shape == (68, 3)
    jaw = points[:17]
    assert (np.diff(jaw[:, 0]) > 0).all(), "the jaw starts at the subject's right"
    assert jaw[8, 1] < jaw[[0, 16], 1].min() and abs(jaw[8, 0]) < 0.003
    assert (np.diff(points[17:27, 0]) > 0).all() and points[17:27, 1].min() > points[36:48, 1].max()
    assert (np.diff(points[27:31, 1]) < 0).all() and points[30, 2] == points[:, 2].max()
    assert points[36, 0] < points[39, 0] < 0 < points[42, 0] < points[45, 0]
    assert points[48, 0] < -0.015 and points[54, 0] > 0.015 and points[51, 1] > points[57, 1]


def test_the_irises_of_the_478_points_lie_on_the_eyeballs(model, average):
    centres = model.eye_centres(average)
    points = model.landmarks478(average)
    for centre, irises in ((centres[1], points[468:473]), (centres[0], points[473:478])):
        assert np.abs(np.linalg.norm(irises - centre, axis=1) - 0.012).max() < 0.0008
        assert np.linalg.norm(irises[0] - centre - [0, 0, 0.012]) < 0.002


def test_barycentric_weights_are_inside_their_triangles(model):
    for points in (model.points68, model.points478):
        assert np.allclose(points.barycentric.sum(axis=1), 1, atol=1e-5)
        assert points.barycentric.min() >= 0 and points.vertices.max() < len(model.mean)


def test_no_file_of_the_open_head_needs_pickle():
    with np.load(Path(ASSET), allow_pickle=False) as data:
        assert all(data[name].dtype.kind != "O" for name in data.files)


def test_no_landmark_of_the_face_lies_on_the_neck(model):
    assert not model.masks["neck"][model.points68.vertices].any()


def test_landmarks_of_both_sides_mirror_each_other_on_the_mean_head(model):
    points = model.landmarks478(model.mean)
    away = np.linalg.norm(points[MIRROR] * [-1, 1, 1] - points, axis=1)
    assert away.max() < 0.015, f"point {away.argmax()} is {1000 * away.max():.0f} mm off"
