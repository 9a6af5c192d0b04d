"""`evaluate now`: the challenge's folders, what is refused and why, and what is written."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from backend.errors import PhotoError, UsageError
from backend.face_models import load_face_model
from training.cli import COMMANDS
from training.data.mesh_files import read_mesh, write_obj
from training.data.now_layout import NowPhotograph, find_prediction, open_now, read_landmarks, write_prediction
from training.evaluation import error_curves, now, now_benchmark, now_checks
from training.evaluation.now_benchmark import METRICAL, NON_METRICAL, Measuring

PEOPLE = ("FaMoS_1", "FaMoS_2")
PICTURES = ("multiview_neutral/IMG_0001.jpg", "multiview_occlusions/IMG_0002.jpg", "selfie/IMG_0003.jpg")
HEADER = '<!DOCTYPE PickedPoints>\n<PickedPoints>\n <DocumentData>\n  <DateTime time="1"/>\n </DocumentData>\n'


@pytest.fixture(scope="module")
def heads():
    """Two people: vertices (V, 3) metres, the skin's triangles and seven landmarks."""
    model = load_face_model("open_head")
    generator = np.random.default_rng(11)
    shapes = [model.neutral(generator.normal(size=model.identity_size).astype(np.float32)) for _ in PEOPLE]
    return [(shape.astype(np.float64), now.seven_landmarks(model.landmarks68(shape))) for shape in shapes]


@pytest.fixture(scope="module")
def skin():
    return now_benchmark._skin(load_face_model("open_head"))


@pytest.fixture(autouse=True)
def soon_exact(monkeypatch):
    """Heads measured against themselves need not come nearer than a micrometre."""
    monkeypatch.setattr(now, "EXACT_M", 1e-6)


def picked_points(path: Path, landmarks: np.ndarray) -> None:
    lines = [f' <point x="{x}" y="{y}" name="{i}" z="{z}" active="1"/>\n' for i, (x, y, z) in enumerate(landmarks)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER + "".join(lines) + "</PickedPoints>\n")


def scan_points(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    return vertices[triangles[::10]].mean(1)


def challenge(root: Path, heads, skin, unit: float = 1000.0, pictures=PICTURES) -> Path:
    """A folder of NoW: the list, the scans (a point in the middle of every triangle) in millimetres."""
    root.mkdir(parents=True, exist_ok=True)
    lines = [f"{person}/{picture}" for person in PEOPLE for picture in pictures]
    (root / "imagepathsvalidation.txt").write_text("\n".join(lines) + "\n")
    for person, (vertices, landmarks) in zip(PEOPLE, heads, strict=True):
        (root / "scans" / person).mkdir(parents=True)
        points = unit * scan_points(vertices, skin)
        text = "".join(f"v {x} {y} {z} 0.5 0.4 0.3\n" for x, y, z in points) + "f 1 2 3\n"
        (root / "scans" / person / "natural_head_rotation.000001.obj").write_text(text)
        picked_points(root / f"scans_lmks_onlypp/{person}/x_picked_points.pp", unit * landmarks)
    return root


def turned(points: np.ndarray, scale: float = 1.0) -> np.ndarray:
    turn = trimesh.transformations.rotation_matrix(0.2, [1, 2, 0.5])[:3, :3]
    return scale * points @ turn.T + [0.02, -0.01, 0.05]


def predict(predictions: Path, folder, heads, skin, scale: float = 1.0) -> Path:
    """Each person's own head in another pose, for every photograph."""
    for photograph in folder.photographs:
        vertices, landmarks = heads[PEOPLE.index(photograph.subject)]
        write_prediction(predictions, photograph, turned(vertices, scale), skin, turned(landmarks, scale))
    return predictions


@pytest.fixture
def now_folder(tmp_path: Path, heads, skin):
    return open_now(challenge(tmp_path / "now", heads, skin))


def measured(folder, predictions: Path, **more):
    return now_benchmark.measure(folder, predictions, Measuring(**more))


def test_the_command_is_known():
    assert COMMANDS["evaluate", "now"][0] == now_benchmark.__name__


def test_true_heads_have_no_error_in_either_protocol(now_folder, tmp_path: Path, heads, skin):
    found = measured(now_folder, predict(tmp_path / "mine", now_folder, heads, skin))
    assert len(found) == 6 and not any(one.left_out for one in found)
    for protocol in (NON_METRICAL, METRICAL):
        assert max(one.distances_mm[protocol].max() for one in found) < 0.02
        assert all(one.scale[protocol] == pytest.approx(1, abs=1e-4) for one in found)
    summaries = now_benchmark.summarise(found, (NON_METRICAL, METRICAL))
    assert list(summaries[METRICAL]) == ["all", "multiview_neutral", "multiview_occlusions", "selfie"]
    assert summaries[METRICAL]["all"].scans == 6 and summaries[METRICAL]["selfie"].scans == 2
    assert summaries[METRICAL]["all"].points == sum(len(one.distances_mm[METRICAL]) for one in found)


def test_a_head_six_percent_too_large_is_wrong_only_where_size_counts(now_folder, tmp_path: Path, heads, skin):
    found = measured(now_folder, predict(tmp_path / "mine", now_folder, heads, skin, scale=1.06))
    for one in found:
        assert one.distances_mm[NON_METRICAL].max() < 0.02
        assert one.scale[NON_METRICAL] == pytest.approx(1 / 1.06, rel=1e-4)
        assert np.median(one.distances_mm[METRICAL]) > 0.5
        assert one.scale[METRICAL] == 1.0


def test_units_of_predictions_are_converted_and_wrong_ones_named(now_folder, tmp_path: Path, heads, skin):
    predictions = predict(tmp_path / "mine", now_folder, heads, skin, scale=10.0)  # decimetres
    found = measured(now_folder, predictions, unit="dm")
    assert max(one.distances_mm[METRICAL].max() for one in found) < 0.02
    assert (
        measured(now_folder, predictions, protocols=(NON_METRICAL,), unit="m")[0].distances_mm[NON_METRICAL].max()
        < 0.02
    )
    with pytest.raises(UsageError, match="seems to be in decimetres: say --unit dm") as caught:
        measured(now_folder, predictions, unit="m")
    assert caught.value.code == "nothing-measured"


@pytest.mark.parametrize(
    ("per_metre", "said", "seems"),
    [
        (10000.0, "mm", "tenths of a millimetre"),  # a head of 2 m
        (10.0, "mm", "decimetres: say --scan-unit dm"),  # a head of 2 mm
        (1.0, "mm", "metres: say --scan-unit m"),
        (100.0, "mm", "centimetres: say --scan-unit cm"),
        (1000.0, "m", "millimetres: say --scan-unit mm"),
        (39.37, "mm", "inches: say --scan-unit inch"),
    ],
)
def test_a_scan_in_the_wrong_unit_is_refused_with_the_unit_it_seems_to_be_in(
    tmp_path: Path, heads, skin, per_metre: float, said: str, seems: str
):
    folder = open_now(challenge(tmp_path / "now", heads, skin, per_metre, PICTURES[:1]))
    predictions = predict(tmp_path / "mine", folder, heads, skin)
    with pytest.raises(UsageError, match=seems):
        measured(folder, predictions, scan_unit=said)


def test_landmarks_in_another_order_are_refused_and_the_wrong_ones_named(now_folder, tmp_path: Path, heads, skin):
    predictions = predict(tmp_path / "mine", now_folder, heads, skin)
    one, other, third = (now_folder.photographs[i] for i in (0, 1, 2))
    for photograph, order in (
        (one, [1, 0, 2, 3, 4, 5, 6]),
        (other, [3, 2, 1, 0, 4, 6, 5]),
        (third, [4, 6, 0, 5, 1, 2, 3]),
    ):
        path = predictions / f"{photograph.name}.npy"
        np.save(path, np.load(path)[order])
    found = {one.photograph: one for one in measured(now_folder, predictions)}
    assert "1: inner corner of the right eye, 2: outer corner of the right eye" in found[one].left_out
    assert "right and left seem to be exchanged" in found[other].left_out
    assert "not in the order of NoW" in found[third].left_out
    assert sum(bool(other.left_out) for other in found.values()) == 3


def test_real_differences_between_people_are_no_wrong_order():
    model = load_face_model("open_head")
    generator = np.random.default_rng(5)
    for _ in range(40):
        one, other = (
            now.seven_landmarks(model.landmarks68(model.neutral(generator.normal(size=model.identity_size))))
            for _ in range(2)
        )
        noise = generator.normal(size=(7, 3)) * 0.003
        now_checks.check_landmark_order(turned(one + noise, generator.uniform(0.5, 20)), other, "The landmarks")
        now_checks.check_landmark_order(one + noise, now_benchmark.FACE_MM, "The landmarks")


@pytest.mark.parametrize("seed", range(5))
def test_any_shuffle_of_a_face_is_refused(seed: int):
    generator = np.random.default_rng(seed)
    face = now_benchmark.FACE_MM + generator.normal(size=(7, 3)) * 2
    for _ in range(20):
        order = generator.permutation(7)
        if (order != np.arange(7)).any():
            with pytest.raises(UsageError, match="order of NoW"):
                now_checks.check_landmark_order(face[order], now_benchmark.FACE_MM, "The landmarks")


def test_landmarks_that_are_none_are_refused():
    for landmarks, said in ((np.zeros((7, 3)), "one line"), (np.arange(21.0).reshape(7, 3), "one line")):
        with pytest.raises(UsageError, match=said):
            now_checks.check_landmark_order(landmarks, now_benchmark.FACE_MM, "The landmarks")
    cloud = np.random.default_rng(2).normal(size=(7, 3))
    with pytest.raises(UsageError, match="order of NoW|as on a face"):
        now_checks.check_landmark_order(cloud, now_benchmark.FACE_MM, "The landmarks")


def test_landmarks_beside_the_mesh_or_the_scan_are_refused(now_folder, tmp_path: Path, heads, skin):
    predictions = predict(tmp_path / "mine", now_folder, heads, skin)
    path = predictions / f"{now_folder.photographs[0].name}.npy"
    np.save(path, np.load(path) * 1000)  # the landmarks in another unit than their mesh
    found = measured(now_folder, predictions)
    assert "do not lie on the mesh" in found[0].left_out and "same unit" in found[0].left_out
    picked_points(now_folder.scan_landmarks[PEOPLE[1]], 1000 * heads[1][1] + 100)
    found = measured(now_folder, predictions, protocols=(NON_METRICAL,))
    assert "do not lie on the scan" in found[-1].left_out


def test_a_mesh_of_another_topology_than_the_model_is_refused(now_folder, tmp_path: Path, heads):
    model = load_face_model("open_head")
    predictions, photographs = tmp_path / "mine", now_folder.photographs
    triangles = model.topology.triangles
    for photograph in photographs:
        vertices, landmarks = heads[PEOPLE.index(photograph.subject)]
        write_prediction(predictions, photograph, vertices, triangles, landmarks)
        (predictions / f"{photograph.name}.npy").unlink()  # the model knows where they are
    vertices = heads[0][0]
    write_obj(
        predictions / f"{photographs[0].name}.obj", vertices[:-1], triangles[(triangles < len(vertices) - 1).all(1)]
    )
    order = np.random.default_rng(0).permutation(len(vertices))
    write_obj(predictions / f"{photographs[1].name}.obj", vertices[order], np.argsort(order)[triangles])
    found = measured(now_folder, predictions, face_model="open_head")
    assert f"{len(vertices) - 1:,} vertices, but the face model open_head has {len(vertices):,}" in found[0].left_out
    assert found[1].left_out == "" or "edges are not the model's" in found[1].left_out
    assert all(not one.left_out and one.distances_mm[METRICAL].max() < 0.02 for one in found[2:])
    assert "There are no landmarks beside" in measured_without_model(now_folder, predictions, photographs[2])


def measured_without_model(folder, predictions: Path, photograph: NowPhotograph) -> str:
    return now_benchmark._paired(folder, predictions, photograph, Measuring()).left_out


def test_vertices_in_another_order_than_the_models_are_refused(heads):
    model = load_face_model("open_head")
    vertices, triangles = heads[0][0], model.topology.triangles
    now_checks.check_topology(vertices, triangles, model, "The mesh")
    a, b, c, d = model.topology.faces[model.topology.faces[:, 3] >= 0][:100].T
    now_checks.check_topology(vertices, np.concatenate([np.c_[a, b, d], np.c_[b, c, d]]), model, "The mesh")
    order = np.random.default_rng(0).permutation(len(vertices))
    with pytest.raises(UsageError, match="vertices are in another order"):
        now_checks.check_topology(vertices[order], np.argsort(order)[triangles], model, "The mesh")


def test_what_is_missing_is_counted_and_said(now_folder, tmp_path: Path, heads, skin):
    predictions = predict(tmp_path / "mine", now_folder, heads, skin)
    (predictions / f"{now_folder.photographs[0].name}.obj").unlink()
    (predictions / f"{now_folder.photographs[1].name}.npy").unlink()
    (predictions / f"{now_folder.photographs[2].name}.npy").write_bytes(b"no array")
    found = measured(now_folder, predictions)
    assert [one.code for one in found] == ["no-prediction", "no-landmarks", "bad-landmarks", "", "", ""]
    said = now_benchmark.table(now_benchmark.summarise(found, (METRICAL,)), found)
    assert "3 of 6 photographs are not in these figures" in said


def test_folders_that_are_others_are_said(now_folder, tmp_path: Path):
    with pytest.raises(UsageError, match="SUBJECT/multiview_neutral/IMG_0001.obj"):
        measured(now_folder, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no prediction of any of the 6"):
        measured(now_folder, tmp_path / "empty")
    with pytest.raises(UsageError, match="imagepathsvalidation.txt"):
        open_now(tmp_path / "empty")
    with pytest.raises(UsageError, match="does not exist"):
        open_now(tmp_path / "nowhere")
    (tmp_path / "list.txt").write_text("a.jpg\n")
    with pytest.raises(UsageError, match="Line 1 of .* is 'a.jpg'"):
        open_now(now_folder.root, tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("FaMoS_1/../secret.jpg\n")
    with pytest.raises(UsageError, match="the challenge one of"):
        open_now(now_folder.root, tmp_path / "list.txt")
    for person in PEOPLE:
        now_folder.scans.pop(person)
    with pytest.raises(UsageError, match="those of the test set are not given out"):
        measured(now_folder, tmp_path / "empty")


def test_landmark_files(tmp_path: Path):
    seven = now_benchmark.FACE_MM
    np.save(tmp_path / "a.npy", seven[None])
    (tmp_path / "a.txt").write_text("\n".join(" ".join(map(str, row)) for row in seven) + "\n")
    picked_points(tmp_path / "a.pp", seven)
    for ending in ("npy", "txt", "pp"):
        assert np.allclose(read_landmarks(tmp_path / f"a.{ending}"), seven)
    np.save(tmp_path / "b.npy", seven[:6])
    with pytest.raises(UsageError, match="seven points"):
        read_landmarks(tmp_path / "b.npy")
    np.save(tmp_path / "b.npy", np.full((7, 3), np.nan))
    with pytest.raises(UsageError, match="Landmark 1 of .* no number"):
        read_landmarks(tmp_path / "b.npy")
    np.save(tmp_path / "b.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(UsageError, match="cannot be read"):
        read_landmarks(tmp_path / "b.npy")


def test_predictions_are_written_as_the_challenge_takes_them(tmp_path: Path, heads, skin):
    photograph = NowPhotograph("FaMoS_1", "selfie", "IMG_0003.jpg")
    write_prediction(tmp_path, photograph, *heads[0][:1], skin, heads[0][1])
    mesh, landmarks = find_prediction(tmp_path, photograph)
    assert mesh == tmp_path / "FaMoS_1/selfie/IMG_0003.obj" and landmarks == tmp_path / "FaMoS_1/selfie/IMG_0003.npy"
    assert np.abs(read_mesh(mesh).vertices - heads[0][0]).max() < 1e-7
    assert np.load(landmarks).shape == (7, 3)


def test_the_command_writes_table_curves_and_the_challenges_own_file(tmp_path: Path, heads, skin, capsys):
    root = challenge(tmp_path / "now", heads, skin, pictures=PICTURES[:2])
    predictions = predict(tmp_path / "mine", open_now(root), heads, skin, scale=1.03)
    arguments = ["--predictions", str(predictions), "--now", str(root), "--processes", "1", "--name", "ours"]
    assert now_benchmark.main([*arguments, "--json", str(tmp_path / "figures.json")]) == 0
    said, results = capsys.readouterr().out, predictions / "results"
    assert "NoW, metrical, mm" in said and "multiview_occlusions" in said
    rows = list(csv.DictReader((results / "summary.csv").open()))
    assert [row["challenge"] for row in rows][:3] == ["all", "multiview_neutral", "multiview_occlusions"]
    assert len(list(csv.DictReader((results / "images.csv").open()))) == 8
    curves = error_curves.read_curves(results / "curve.csv")
    assert curves["ours, non-metrical"][5] == 100 and curves["ours, metrical"][5] < 50
    assert Image.open(results / "curve.png").size == (900, 640)
    stored = np.load(results / "ours_metrical_computed_distances.npy", allow_pickle=True).item()
    assert len(stored["computed_distances"]) == 4 and stored["num_missing_files"] == 0
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert np.mean(np.hstack(stored["computed_distances"])) == pytest.approx(
        figures["metrical"]["all"]["mean"], rel=1e-4
    )
    (predictions / "FaMoS_1/multiview_neutral/IMG_0001.obj").unlink()
    again = [*arguments, "--challenge", "multiview_neutral", "--beside", str(results / "curve.csv")]
    assert now_benchmark.main(again) == 1
    assert "1 of 2 photographs are not in these figures" in capsys.readouterr().out


def test_commands_that_cannot_work_are_said_before_anything_is_measured(tmp_path: Path, heads, skin):
    folders = ["--predictions", str(tmp_path / "mine"), "--now", str(tmp_path / "now")]
    for arguments, said in (
        ([], "Name both folders"),
        ([*folders, "--name", "a/b"], "without slashes"),
        ([*folders, "--face-model", "nobody"], "there is no such face model"),
        ([*folders, "--output", "/dev/null/results"], "cannot be made"),
        (folders, "does not exist"),
    ):
        with pytest.raises(UsageError, match=said):
            now_benchmark.main(arguments)


def test_a_mesh_without_extent_is_left_out(now_folder, tmp_path: Path, heads, skin):
    predictions = predict(tmp_path / "mine", now_folder, heads, skin)
    landmarks = heads[0][1]
    write_obj(predictions / f"{now_folder.photographs[0].name}.obj", landmarks[[0] * 7], np.array([[0, 1, 2]]))
    found = measured(now_folder, predictions, protocols=(NON_METRICAL,))
    assert found[0].code in ("bad-mesh", "wrong-landmarks") and not found[1].left_out


def test_missing_predictions_are_made_and_those_there_are_kept(now_folder, tmp_path: Path, heads, skin):
    asked = []

    def reconstruct(path: Path):
        asked.append(path)
        if path.name == "IMG_0002.jpg":
            raise PhotoError("no-face", "No face was found.")
        return heads[0][0], skin, heads[0][1]

    assert now_benchmark.write_predictions(now_folder, tmp_path / "mine", reconstruct) == 4
    assert asked[0] == now_folder.root / "iphone_pictures/FaMoS_1/multiview_neutral/IMG_0001.jpg"
    assert now_benchmark.write_predictions(now_folder, tmp_path / "mine", reconstruct) == 0
    assert len(asked) == 8  # the two without a face are tried again


def test_the_curve_is_the_share_of_points_up_to_an_error():
    distances = np.array([0.0, 1.0, 1.0, 2.505, 20.0])
    curve = error_curves.cumulative_curve(distances)
    by_hand = [
        100 * np.mean([distance <= error + 1e-12 for distance in distances]) for error in error_curves.errors_mm()
    ]
    assert np.allclose(curve, by_hand)
    assert curve[-1] == 80
    with pytest.raises(ValueError):
        error_curves.cumulative_curve(np.zeros(0))


def test_a_table_that_holds_no_curves_is_refused(tmp_path: Path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    for path in (tmp_path / "a.csv", tmp_path / "none.csv"):
        with pytest.raises(UsageError, match="no curve.csv"):
            error_curves.read_curves(path)
