"""Photographs of people from three sides as a training's data: made ready once, in order, nobody on both sides; what a
network learns from them. The set is made up: synthetic people in Pixel-Face's layout."""

import csv
import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from backend.errors import PhotoError, UsageError
from backend.face_models import load_face_model
from backend.face_parsing import METHOD
from backend.networks.bisenet import BiSeNet
from backend.weights import save_weights
from tests.face_model_files import write_bfm_front
from training.data import prepare, prepared_triples
from training.data.bosphorus_layout import open_bosphorus
from training.data.generator import SyntheticPeople
from training.data.landmarks101 import COUNT, NOT_COMPARED, ROWS_OF_68, SEVEN
from training.data.photographed_triples import PREPARED, held_out
from training.data.pixel_face_layout import open_pixel_face
from training.data.prepared import PreparedSettings
from training.data.prepared_triples import ParsedBy, TriplePreparation, in_slots, prepare_triples, whole_triples
from training.data.triples import Triple
from training.errors import TrainingError
from training.fit import fit
from training.losses.landmarks3d import aligned_landmark_loss
from training.methods import measured_points
from training.methods.deep_fusion import DeepFusionSettings, DeepFusionTraining
from training.methods.measured_points import MeasuredPoints
from training.settings import load_settings

SIZE, SEED = 64, 11
TINY = {
    "network.width": 4, "network.backbone_width": 16, "data.size": SIZE, "data.workers": 0, "data.batch_size": 1,
    "rendering.size": 32, "mask_from": 0, "training.log_pictures_every": 0, "training.validate_every": 0,
    "training.validation_batches": 1, "training.threads": 1,
}  # fmt: skip
PUBLISHED = {"photo", "mask", "landmark", "landmarks3d", "coefficients", "light", "reflectance"}


def points_of(person: int) -> np.ndarray:
    """(106, 3) decimetres of an invented face, in place and unit of Pixel-Face's files."""
    chance = np.random.default_rng(person)
    head = load_face_model("open_head")
    points = 0.3 * chance.normal(size=(COUNT, 3))
    points[list(ROWS_OF_68.values())] = 10 * head.landmarks68(head.mean)[list(ROWS_OF_68)]
    points += 0.02 * chance.normal(size=points.shape)
    return np.insert(points, [row - place for place, row in enumerate(NOT_COMPARED)], 0.0, axis=0)


def a_moment(root: Path, subject: str, images: list[np.ndarray], person: int, sample: str = "1") -> None:
    moment = root / "train" / subject / sample / "Images"
    (moment / "fusion").mkdir(parents=True)
    np.savetxt(moment / "fusion/nicp_106_pts.txt", points_of(person))
    for view, image in enumerate(images):
        (moment / str(view)).mkdir()
        lying = image.transpose(1, 0, 2)[..., ::-1]
        cv2.imwrite(str(moment / f"{view}/t.jpg"), np.ascontiguousarray(lying))


@pytest.fixture(scope="module")
def pictures() -> list[list[np.ndarray]]:
    """Two people, left, front and right."""
    album = SyntheticPeople(SEED, 160, framing="portrait", pictures_per_person=3, views="triples")
    return [[album.photograph(3 * person + view).image for view in range(3)] for person in (2, 3)]


@pytest.fixture(scope="module")
def parser(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("parser") / "parser.safetensors"
    torch.manual_seed(0)
    network = BiSeNet(10, 4)
    save_weights(path, network.state_dict(), METHOD, "open_head", {"network": {"classes": 10, "width": 4, "size": 64}})
    return str(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory, pictures, parser) -> Path:
    """A set of which two moments can be used. The first person's views lie from right to left."""
    root = tmp_path_factory.mktemp("pixel_face")
    a_moment(root, "0001", pictures[0][::-1], 0)
    a_moment(root, "0002", pictures[1], 1)
    a_moment(root, "0003", [*pictures[0][:2], np.full((48, 48, 3), 90, np.uint8)], 2)
    prepare_triples(open_pixel_face(root), root / PREPARED, SIZE, parser, processes=1)
    return root


@pytest.fixture(scope="module")
def bfm(tmp_path_factory) -> str:
    return str(write_bfm_front(tmp_path_factory.mktemp("bfm") / "BFM_model_front.mat", vertices=1200))


def settings_of(root, parser, bfm, **changes) -> DeepFusionSettings:
    overrides = TINY | {"face_model": bfm, "data.pixel_face": str(root), "network.face_parser": parser}
    overrides |= {name.replace("__", "."): value for name, value in changes.items()}
    return load_settings(DeepFusionSettings, "deep-fusion", "paper", overrides=overrides)


@pytest.fixture(scope="module")
def method(root, parser, bfm) -> DeepFusionTraining:
    torch.manual_seed(0)
    return DeepFusionTraining(settings_of(root, parser, bfm))


@pytest.fixture(scope="module")
def batch(method) -> dict[str, torch.Tensor]:
    data = method.data(method.settings)
    data.setup()
    return next(iter(data.train_dataloader()))


# Made ready.


def test_a_triple_is_made_ready_in_order_with_all_that_a_network_learns_from(method):
    data = method.data(method.settings)
    data.setup()
    sources = {part.places[0][1].subject: part for part in (data.training, data.validation)}
    assert sorted(sources) == ["0001", "0002"]  # nobody is on both sides
    for person, (subject, yaw) in enumerate((("0001", (51, -4, -63)), ("0002", (21, 5, -50)))):
        items = [sources[subject].read(view, np.random.default_rng(0)) for view in range(3)]
        assert np.abs(np.array([item["yaw"] for item in items]) - yaw).max() < 20  # as the mean head would be turned
        for item in items:
            assert item["image"].shape == (SIZE, SIZE, 3) and item["parsing"].shape == (SIZE, SIZE)
            assert 0 < item["landmarks68"].min() and item["landmarks68"].max() < SIZE
            assert item["landmarks478"].any() and "has_truth" not in item
            assert np.allclose(item["points101"], 100 * np.delete(points_of(person), NOT_COMPARED, 0), atol=1e-2)


def test_what_cannot_be_used_is_written_down_and_nothing_is_made_twice(root, parser, monkeypatch):
    with (root / PREPARED / "left_out.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["name"], row["code"]) == ("0003/1", "no-face") and "0003/1/Images/2/t.jpg" in row["reason"]
    monkeypatch.setattr(prepared_triples, "find_face", lambda *_: pytest.fail("looked for a face again"))
    folder = open_pixel_face(root)
    assert prepare_triples(folder, root / PREPARED, SIZE, parser, processes=1) == {"prepared": 2, "no-face": 1}
    assert [triple.name for triple in whole_triples(folder, root / PREPARED)] == ["0001/1", "0002/1"]


def test_the_command_prepares_triples_too(root, parser, tmp_path, capsys, monkeypatch):
    arguments = [str(root), "--output", str(root / PREPARED), "--kind", "pixel-face", "--processes", "1"]
    assert prepare.main([*arguments, "--face-parser", parser]) == 0
    assert "2 of 3 triples are prepared" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--face-parser face-parsing-open-small"):
        prepare.main(arguments)


def test_other_weights_of_the_face_parser_or_larger_pictures_need_another_folder(root, parser, tmp_path):
    folder, other = open_pixel_face(root), tmp_path / "other.safetensors"
    network = BiSeNet(10, 4)
    save_weights(other, network.state_dict(), METHOD, "open_head", {"network": {"classes": 10, "width": 4, "size": 64}})
    with pytest.raises(UsageError, match=r"parser\.safetensors, whose weights .* data\.triples_prepared"):
        prepare_triples(folder, root / PREPARED, SIZE, str(other), processes=1)
    with pytest.raises(UsageError, match="are 224 px, the training wants 256 px"):
        prepare_triples(folder, root / PREPARED, 256, parser, processes=1)
    with pytest.raises(UsageError, match="no folder of prepared triples"):
        whole_triples(folder, tmp_path)


def test_the_work_can_be_sent_to_other_processes(root, parser):
    """And there goes on with the triples that are given to it."""
    folder = open_pixel_face(root)
    there = TriplePreparation(folder, root / PREPARED, PreparedSettings("mediapipe", 224), ParsedBy.of(parser))
    sent = pickle.loads(pickle.dumps(there))
    assert sent == there and sent.start()(folder.triples[2])[0] == "no-face"


def a_triple(*yaw: float | None) -> Triple:
    return Triple("001", "001", (Path("a"), Path("b"), Path("c")), yaw or (None, None, None))


def test_views_are_ordered_by_what_they_show_unless_the_set_says_it():
    names = ["a", "b", "c"]
    assert in_slots(a_triple(), (-40.0, 50.0, 3.0), names) == (1, 2, 0)
    assert in_slots(a_triple(10, 0, -10), (12.0, 1.0, -9.0), names) == (0, 1, 2)
    with pytest.raises(PhotoError, match="turned by 45, 0, -45 degrees .* and by -44, 2, 43") as found:
        in_slots(a_triple(45, 0, -45), (-44.0, 2.0, 43.0), names)
    assert found.value.code == "views-swapped"
    with pytest.raises(PhotoError, match="both show the left side") as found:
        in_slots(a_triple(), (40.0, 50.0, 3.0), names)
    assert found.value.code == "same-side"
    with pytest.raises(PhotoError, match="turned away"):
        in_slots(a_triple(), (120.0, 130.0, 140.0), names)


def test_what_was_prepared_of_bosphorus_is_not_taken_for_people(tmp_path):
    from tests.training.test_triples import bosphorus

    bosphorus(tmp_path)
    (tmp_path / PREPARED / "faces/bs000").mkdir(parents=True)
    folder = open_bosphorus(tmp_path)
    assert len(folder) == 1 and not folder.left_out


def test_of_each_set_somebody_is_held_out_and_a_person_alone_is_refused():
    people = [("pixel_face", f"{number:04}") for number in range(100)] + [("multi_pie", "001"), ("multi_pie", "002")]
    held = held_out(people)
    assert held == held_out(people) and [name for name, _ in sorted(held)] == ["multi_pie", *["pixel_face"] * 4]
    with pytest.raises(UsageError, match=r"data\.bosphorus has usable photographs of one person only"):
        held_out([*people, ("bosphorus", "bs000")])


# Learnt from.


def test_a_batch_has_three_views_and_measured_points_and_no_truth(batch):
    assert batch["image"].shape == (1, 3, 3, SIZE, SIZE) and batch["landmarks478"].shape == (1, 3, 478, 2)
    assert batch["points101"].shape == (1, COUNT, 3) and batch["points101_known"].tolist() == [True]
    assert batch["present"].all() and batch["person"].shape == (1,)
    assert not batch["has_truth"].any() and not batch["identity"].any() and not batch["identity_known"].any()


def test_the_published_losses_work_on_photographs(method, batch):
    method.train()
    completed = method.completed(batch)
    outputs = method.outputs(completed)
    losses = method.losses(completed, outputs)
    assert set(losses) == PUBLISHED and all(torch.isfinite(value) for value in losses.values())
    assert losses["landmarks3d"] > 0.5 and losses["photo"] > 0
    (gradient,) = torch.autograd.grad(losses["landmarks3d"], outputs["codes"].identity, retain_graph=True)
    assert torch.isfinite(gradient).all() and gradient.any()

    def landmarks3d(**changed) -> float:
        return float(method._landmarks3d(completed | changed, outputs).detach())

    points = batch["points101"]
    turned = 3 * points @ torch.from_numpy(Rotation.random(random_state=2).as_matrix()).float() + 9
    moved = points.clone()
    moved[:, ROWS_OF_68[8]] += 30  # the chin
    before = float(losses["landmarks3d"].detach())
    assert landmarks3d(points101=moved) == pytest.approx(before + 30 * 3**0.5 / 60, abs=0.3)
    assert landmarks3d(points101=points, points101_known=~batch["points101_known"]) == 0
    assert landmarks3d(points101=turned) == pytest.approx(3 * before, rel=1e-3)


def test_who_was_measured_is_not_seen_in_a_mirror(method, batch, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.zeros(*shape))
    method.train()
    assert torch.equal(method.prepared(batch)["image"], batch["image"])
    without = batch | {"points101_known": torch.tensor([False])}
    assert torch.equal(method.prepared(without)["image"], batch["image"].flip(1).flip(-1))


def test_of_photographs_the_landmark_errors_are_measured_and_no_head(root, parser, batch):
    """With the face model whose people are known, too: nothing is said to be without error, and the terms that need
    the truth teach nothing."""
    need_truth = ("shape", "expression", "pose", "identity_codes", "key_weights", "albedo", "light_shown")
    weights = {f"losses__{name}": 1 for name in need_truth}
    chosen = settings_of(root, parser, "open_head", losses__mask=0, **weights)
    own = DeepFusionTraining(chosen).eval()
    completed = own.completed(batch)
    outputs = own.outputs(completed)
    losses = own.losses(completed, outputs)
    assert all(losses[name] == 0 for name in need_truth)
    sum(losses.values()).backward()
    assert all(torch.isfinite(value.grad).all() for value in own.network.parameters())
    with torch.no_grad():
        figures = own.metrics(completed, outputs)
    assert {"landmark_error_left_px", "landmark_error_px", "single_landmark_error_px"} <= set(figures)
    assert not [name for name in figures if "shape" in name or "head" in name]
    with pytest.raises(TrainingError, match=r"data\.validation_shards"):
        own.ablation_figures()


def test_a_basel_face_model_is_compared_at_all_101_points(method, monkeypatch):
    model = method.model
    some = MeasuredPoints(model)
    codes = torch.randn(2, 80), torch.randn(2, 64)
    points68 = model.points("landmarks68", *codes)
    assert len(some.rows) == 60 and torch.equal(some(*codes, points68), points68[:, list(ROWS_OF_68)])
    vertices = tuple(range(7, 7 + COUNT))
    monkeypatch.setattr(measured_points, "BFM_VERTICES", vertices)
    monkeypatch.setattr(measured_points, "BFM_SIZE", 1200)
    every = MeasuredPoints(model)
    assert every.anchors == SEVEN and not every.state_dict()
    found = every(*codes, points68)
    assert torch.allclose(found, model.vertices(*codes)[:, list(vertices)], atol=1e-6)
    assert aligned_landmark_loss(found, 1000 * found, every.anchors) < 1e-2


def test_two_steps_of_training_from_the_folder_to_the_figures(root, parser, bfm, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    overrides = TINY | {"face_model": bfm, "data.pixel_face": str(root), "network.face_parser": parser}
    measured = fit("deep-fusion", "paper", overrides=overrides | {"training.max_steps": 2}, output=tmp_path / "run")
    assert PUBLISHED | {"landmark_error_front_px"} <= set(measured) and np.isfinite(list(measured.values())).all()


# What is said.


def test_photographs_need_a_face_parser_and_stand_alone(root, parser, bfm, method):
    with pytest.raises(UsageError, match=r"\(data\.pixel_face\) need a network .* network\.face_parser") as found:
        DeepFusionTraining(settings_of(root, None, bfm, losses__mask=0))
    assert found.value.code == "no-face-parser"
    with pytest.raises(UsageError, match="not both"):
        DeepFusionTraining(settings_of(root, parser, bfm, data__shards="SHARDS"))
    assert "Pixel-Face" in method.learns_from and "not to be passed on" in method.learns_from
    assert "synthetic" in DeepFusionTraining.learns_from.lower()


def test_a_set_of_which_nothing_can_be_used_says_where_the_reasons_are(root, parser, tmp_path):
    folder = open_pixel_face(root)
    tmp_path.joinpath("faces").mkdir()
    TriplePreparation(folder, tmp_path, PreparedSettings("mediapipe", 224), ParsedBy.of(parser)).begin()
    with pytest.raises(UsageError, match=r"None of the 3 moments .*left_out\.csv") as found:
        whole_triples(folder, tmp_path)
    assert found.value.code == "no-triples"
