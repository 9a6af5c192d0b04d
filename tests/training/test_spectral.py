"""The spectral method's training: known heads have no error, frozen parts stay, identities are swapped among pictures
of one person, and what cannot be learnt is said."""

import csv
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from backend import asset_store
from backend.embedding_files import read_embedding
from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.identity_crop import FACE_SIZE, TEMPLATE, face_crop, five_of_68, identity_region
from backend.methods.spectral_network import (
    SpectralCodes,
    SpectralNetwork,
    SpectralSplit,
    fitted_camera,
    light_matrix,
    weakly_projected,
)
from backend.networks.iresnet import IResNet
from backend.photographs import load_photograph
from backend.picture_regions import Picture
from backend.rendering.harmonic_conventions import light_from_deca
from backend.weights import load_weights, save_weights
from tests.stand_in_heads import write_flame_head, write_flame_landmarks
from training import ablate
from training.data.batches import collate
from training.data.generator import SyntheticPeople
from training.data.landmark_sources import MediaPipeSource
from training.data.person_batches import PeopleSeenOften, PersonBatches
from training.data.pictures import FreshPictures, item_of
from training.data.prepare import prepare
from training.data.prepared import PreparedSettings
from training.errors import TrainingError
from training.evaluation import spectral_figures
from training.fit import fit
from training.losses import deca
from training.losses.structure import structure_loss
from training.losses.vertices import vertex_loss
from training.methods import spectral_parts
from training.methods.face_rendering import FaceRenderer
from training.methods.spectral import (
    SpectralSettings,
    SpectralTraining,
    chosen_by_person,
    in_identity_crop,
    swapped_within_people,
)
from training.methods.spectral_parts import face_regions, region_weights, regions_of
from training.methods.spectral_rendering import seen_faces
from training.settings import load_settings

SIZE = 96
PICTURES = 4
RECOGNISER = {"blocks": (1, 1, 1, 1), "width": 4, "embedding": 512, "size": 112}


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory) -> str:
    """The file of a small network with an embedding as long as ArcFace's."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("recogniser") / "small.safetensors"
    facts = {"network": RECOGNISER | {"blocks": list(RECOGNISER["blocks"])}}
    save_weights(path, IResNet(**RECOGNISER).state_dict(), "identity-embedding", "open_head", facts)
    return str(path)


def pictures_of(face_model="open_head"):
    album = SyntheticPeople(3, SIZE, framing="aligned", pictures_per_person=2, face_model=face_model)
    return collate([item_of(album.photograph(index), face_model) for index in range(PICTURES)], face_model)


@pytest.fixture(scope="module")
def batch():
    return pictures_of()


def tiny_settings(recogniser, preset="open-small", **changes):
    overrides = {
        "network.recogniser": recogniser, "network.embedding": recogniser, "network.second_width": 8,
        "network.second_weights": None, "data.size": SIZE, "data.workers": 0, "data.batch_size": 2,
        "rendering.size": 48, "rendering.every": 1, "rendering.pictures": 0,
    }  # fmt: skip
    overrides |= {name.replace("__", "."): value for name, value in changes.items()}
    return load_settings(SpectralSettings, "spectral", preset, overrides=overrides)


def tiny(recogniser, preset="open-small", **changes):
    torch.manual_seed(0)
    return SpectralTraining(tiny_settings(recogniser, preset, **changes))


@pytest.fixture(scope="module")
def method(recogniser):
    return tiny(recogniser).eval()


def axis_angle(rotation):
    """(3, 3) to (3,), by the eigenvector: the definition."""
    angle = torch.arccos(((rotation.trace() - 1) / 2).clamp(-1, 1))
    axis = torch.stack(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    return axis / axis.norm() * angle


def true_codes(method, prepared):
    """What a network would answer that knew everything: a weak-perspective camera as near as there is one."""
    turns = FaceRenderer.viewer_rotation(prepared["rotation"])
    pose = torch.stack([axis_angle(turn) for turn in turns])
    light = torch.zeros(len(pose), 9, 3)
    codes = SpectralCodes(
        prepared["identity"], prepared["key_weights"], prepared["albedo"], pose, torch.zeros(len(pose), 3), light
    )
    points = method.landmarks68(codes)
    cameras = [fitted_camera(own, wanted) for own, wanted in zip(points, prepared["points"], strict=True)]
    return SpectralCodes(**{**vars(codes), "camera": torch.tensor(cameras)})


# The network.


def test_the_papers_mapping_network_has_571086_parameters(recogniser):
    network = SpectralNetwork(SpectralSplit(), read_embedding(recogniser))
    assert SpectralSplit().total == 486
    assert list(SpectralSplit().sizes().values()) == [300, 6, 100, 50, 3, 27]
    assert sum(parameter.numel() for parameter in network.identity_encoder.mapping.parameters()) == 571_086
    assert network.encoders == 1 and network(torch.rand(2, 3, 112, 112)).shape == (2, 486)


def test_codes_have_the_parts_of_the_outputs():
    assert set(SpectralCodes.__dataclass_fields__) == set(SpectralSplit().sizes())
    with pytest.raises(ValueError, match="Expected"):
        SpectralSplit().split(torch.zeros(1, 485))


def test_the_camera_is_decas(batch):
    points, camera = torch.randn(2, 5, 3), torch.tensor([[8.0, 0.01, -0.02], [9.0, 0.0, 0.03]])
    for own, (scale, across, up), found in zip(points, camera, weakly_projected(points, camera), strict=True):
        for point, pixel in zip(own, found, strict=True):
            assert pixel[0].item() == pytest.approx(float(scale * (point[0] + across)), abs=1e-5)
            assert pixel[1].item() == pytest.approx(float(-scale * (point[1] + up)), abs=1e-5)
    again = fitted_camera(points[0], weakly_projected(points[:1], camera[:1])[0])
    assert again == pytest.approx(camera[0].tolist(), abs=1e-5)


def test_light_is_in_decas_order():
    light = torch.randn(9, 3)
    assert torch.allclose(light_matrix() @ light, light_from_deca(light).coefficients, atol=1e-6)


def test_an_answer_of_zero_is_the_mean_head_in_front_of_the_camera(method, batch):
    codes = method.network.decode(torch.zeros(1, method.network.parameter_split.total))
    points = weakly_projected(method.landmarks68(codes), codes.camera)
    assert points.abs().max() < 1 and points[0, 8, 1] > points[0, 30, 1] > points[0, 27, 1]
    assert points[0, 36, 0] < points[0, 45, 0] and abs(float(points[0, 27, 0])) < 0.05
    assert torch.allclose(codes.expression, torch.sigmoid(torch.tensor(-3.0)))


@pytest.mark.parametrize(("encoders", "second_frozen"), [("one", False), ("two", False), ("two", True)])
def test_the_frozen_part_gets_no_gradient_and_keeps_its_statistics(encoders, second_frozen, recogniser, batch):
    method = tiny(recogniser, network__encoders=encoders, network__second_frozen=second_frozen).train()
    before = {name: value.clone() for name, value in method.network.state_dict().items()}
    steps_on(method, batch, 1)
    frozen = ("conv1.", "bn1.", "prelu.", "layer1.", "layer2.", "layer3.")
    start = "identity_encoder.recogniser."
    moved = set()
    for name, value in method.network.state_dict().items():
        if name.startswith(start) and name.removeprefix(start).startswith(frozen):
            assert torch.equal(value, before[name]), name
        elif not torch.equal(value, before[name]):
            moved.add(name)
    for name, parameter in method.network.named_parameters():
        if name.startswith(start) and name.removeprefix(start).startswith(frozen):
            assert parameter.grad is None, name
    assert {f"{start}layer4.0.conv1.weight", f"{start}fc.weight", "identity_encoder.mapping.output.weight"} <= moved
    assert ("second.fc.weight" in moved) == (encoders == "two")
    assert ({"second.conv1.weight", "second.bn1.running_mean"} <= moved) == (encoders == "two" and not second_frozen)


def test_the_3d_networks_are_neither_trained_nor_saved(method):
    assert not any("autoencoder" in name or "embedding" in name for name in method.state_dict())
    (autoencoder,), (embedding,) = method._autoencoder, method._embedding
    assert not any(parameter.requires_grad for parameter in (*autoencoder.parameters(), *embedding.parameters()))
    assert not autoencoder.training and not embedding.training


# Losses on known truth.


def test_known_heads_have_no_3d_loss(method, batch):
    prepared = method.prepared(batch)
    terms = method._heads_compared(prepared, method.neutral(prepared["identity"]))
    assert {name: float(term()) for name, term in terms.items()} == pytest.approx(
        {"vertices": 0, "structure": 0}, abs=1e-4
    )


@pytest.mark.parametrize("kind", ["cosine", "l2"])
def test_3d_losses_equal_loops_over_people_that_are_known(kind, recogniser, batch):
    method = tiny(recogniser, three_d__structure=kind).eval()
    prepared = method.prepared(batch | {"identity_known": torch.tensor([True, False, True, True])})
    found = torch.randn(PICTURES, method.model.identity_size, generator=torch.Generator().manual_seed(0))
    terms = method._heads_compared(prepared, method.neutral(found))
    vertices, structure = [], []
    for index in (0, 2, 3):
        one, other = method.neutral(found[index : index + 1]), method.neutral(prepared["identity"][index : index + 1])
        vertices.append(float(vertex_loss(one, other, method.region_weights)))
        codes = method.structure_of(one), method.structure_of(other)
        l2 = float((codes[0] - codes[1]).square().sum()) / 2
        structure.append(l2 if kind == "l2" else float(structure_loss(*codes)))
    assert float(terms["vertices"]()) == pytest.approx(np.mean(vertices), rel=1e-4)
    assert float(terms["structure"]()) == pytest.approx(np.mean(structure), rel=1e-3)


def test_the_true_codes_bring_the_landmarks_where_they_are(method, batch):
    """Up to what parallel rays cannot show of a picture that was taken from near."""
    prepared = method.prepared(batch)
    codes = true_codes(method, prepared)
    found = weakly_projected(method.landmarks68(codes), codes.camera)
    assert (found - prepared["points"]).norm(dim=-1).mean() < 0.05


def test_the_true_codes_are_drawn_over_the_face(method, batch):
    prepared = method.prepared(batch)
    codes = true_codes(method, prepared)
    seen = seen_faces(method.posed(codes), codes.camera, method.faces, SIZE)
    for covered, parsing, visible in zip(seen.covered, batch["parsing"], batch["visible68"], strict=True):
        if visible[17:].all():  # nothing lies before the face
            skin = torch.isin(parsing, torch.tensor((1, 2, 3, 6, 8, 9)))
            assert (covered & skin).sum() / skin.sum() > 0.6


def test_the_rendered_face_passes_gradients_to_all_codes(method, batch):
    codes = method.network.decode(torch.zeros(1, method.network.parameter_split.total))
    parts = {name: values.detach().clone().requires_grad_(True) for name, values in vars(codes).items()}
    codes = SpectralCodes(**parts)
    seen = seen_faces(method.posed(codes), codes.camera, method.faces, 48)
    (seen.coloured(method.albedo(codes), codes.light) * torch.linspace(0, 1, 48)).square().sum().backward()
    for name, part in parts.items():
        assert torch.isfinite(part.grad).all() and part.grad.abs().sum() > 0, name


def test_the_identity_loss_leaves_colour_and_light_alone(method, batch):
    codes = method.network.decode(torch.zeros(2, method.network.parameter_split.total))
    parts = {name: values.detach().clone().requires_grad_(True) for name, values in vars(codes).items()}
    codes, prepared = SpectralCodes(**parts), method.prepared(batch)
    seen = seen_faces(method.posed(codes), codes.camera, method.faces, 48)
    image = torch.rand(2, 3, 48, 48)
    method._identity_loss(seen, codes, image, (prepared["points"][:2] + 1) * 24).backward()
    assert parts["albedo"].grad is None and parts["light"].grad is None
    assert parts["identity"].grad.abs().sum() > 0 and parts["pose"].grad.abs().sum() > 0


def test_picture_losses_are_decas(method, batch):
    prepared = method.prepared(batch)
    outputs = method.outputs(prepared)
    losses = method.losses(prepared, outputs)
    wanted = prepared["points"]
    visible = prepared["visible68"]
    assert losses["landmark"] == deca.landmark_distance(outputs["points"], wanted, visible)
    assert losses["identity_size"].item() == pytest.approx(
        float(outputs["codes"].identity.detach().square().sum() / 2), rel=1e-5
    )
    assert set(losses) == set(type(method.settings.losses).model_fields)
    assert all(torch.isfinite(value) for value in losses.values())


def test_photographs_of_unknown_people_count_for_the_pictures_terms_only(method, batch):
    names = ("identity", "key_weights", "albedo", "rotation", "translation", "intrinsics", "light", "has_truth")
    names += ("identity_known",)
    real = batch | {name: torch.zeros_like(batch[name]) for name in names} | {"person": torch.full((PICTURES,), -1)}
    prepared = method.prepared(real)
    losses = method.losses(prepared, method.outputs(prepared))
    assert losses["vertices"] == losses["structure"] == 0
    assert losses["landmark"] > 0 and losses["photometric"] > 0
    assert torch.allclose(prepared["landmarks68"], batch["landmarks68"])


def test_losses_without_weight_are_not_computed(recogniser, batch):
    off = {f"losses__{name}": 0 for name in ("vertices", "structure", "photometric", "identity")}
    method = tiny(recogniser, network__embedding=None, network__autoencoder=None, **off)
    prepared = method.prepared(batch)
    found = set(method.losses(prepared, method.outputs(prepared)))
    assert found == set(type(method.settings.losses).model_fields) - {name.removeprefix("losses__") for name in off}


# The recogniser's crop.


def test_with_one_encoder_the_picture_is_the_recognisers_crop(recogniser, batch):
    method = tiny(recogniser, network__encoders="one").eval()
    prepared = method.prepared(batch)
    five = five_of_68((prepared["points"] + 1) / 2 * FACE_SIZE)
    assert (five.mean(1) - torch.tensor(TEMPLATE).mean(0)).abs().max() < 0.1
    changed = in_identity_crop(batch, batch["landmarks68"])
    assert changed["image"].shape == batch["image"].shape and changed["parsing"].dtype == batch["parsing"].dtype
    whole = torch.nn.functional.interpolate(batch["image"], (FACE_SIZE, FACE_SIZE), mode="bilinear")
    points = batch["landmarks68"] * (FACE_SIZE / SIZE)
    large = {"image": whole, "parsing": torch.zeros(PICTURES, FACE_SIZE, FACE_SIZE, dtype=torch.uint8)}
    large |= {"landmarks68": points, "visible68": batch["visible68"]}
    cropped = in_identity_crop(large, points)["image"] * 2 - 1
    inside = cropped > -1  # the border is black here and grey there
    assert (cropped - face_crop(whole, points))[inside].abs().max() < 1e-4


def test_faces_are_jittered_in_training_only(method, batch):
    assert torch.equal(method.prepared(batch)["face"], method.prepared(batch)["face"])
    still, moved = method.completed(batch), method.completed(batch, 2.0)
    assert torch.equal(still["points"], moved["points"]) and not torch.equal(still["face"], moved["face"])


# Swapped identities.


def test_identities_are_swapped_among_pictures_of_one_person():
    torch.manual_seed(0)
    person = torch.tensor([7, 3, 7, -1, 3, 7, -1, 9])
    order = swapped_within_people(person)
    assert sorted(order.tolist()) == list(range(8)) and torch.equal(person[order], person)
    own = order == torch.arange(8)
    assert own.tolist() == [False, False, False, True, False, False, True, True]


def test_swapping_equal_identities_changes_nothing(recogniser, batch):
    method = tiny(recogniser, network__landmarks="second").eval()  # which say nothing of the identity
    torch.nn.init.zeros_(method.network.identity_encoder.mapping.output.weight)
    method.network.identity_encoder.mapping.output.bias.data.normal_()
    prepared = method.prepared(batch)
    twice = prepared | {"swap": swapped_within_people(prepared["person"])}
    once, both = method.outputs(prepared), method.outputs(twice)
    assert torch.allclose(both["points"], torch.cat([once["points"]] * 2))
    before, after = method.losses(prepared, once), method.losses(twice, both)
    for name, value in before.items():
        factor = 2 if name in ("identity_size", "expression_size", "albedo_size", "pose_size") else 1
        assert after[name].item() == pytest.approx(factor * value.item(), rel=1e-3, abs=1e-6), name


def test_swapped_identities_are_another_pictures_with_everything_else_kept(method, batch):
    prepared = method.prepared(batch)
    order = swapped_within_people(prepared["person"])
    codes = method.outputs(prepared | {"swap": order})["codes"]
    assert torch.equal(codes.identity[PICTURES:], codes.identity[:PICTURES][order])
    assert torch.equal(codes.camera[PICTURES:], codes.camera[:PICTURES])


def test_all_pictures_of_a_person_are_mirrored_or_none():
    torch.manual_seed(0)
    person = torch.arange(200) // 4
    chosen = chosen_by_person(person).view(-1, 4)
    assert (chosen == chosen[:, :1]).all() and 10 < chosen[:, 0].sum() < 40
    assert 0 < chosen_by_person(torch.full((50,), -1)).sum() < 50


def test_in_training_pictures_are_swapped_and_in_validation_not(recogniser, batch):
    method = tiny(recogniser).train()
    assert "swap" in method.prepared(batch) and "swap" not in method.eval().prepared(batch)
    assert "swap" not in tiny(recogniser, shape_consistency=False).train().prepared(batch)


# Batches.


class SomePictures:
    """As many as there are persons; nothing is read."""

    face_model = "open_head"

    def __init__(self, persons):
        self.persons = persons

    def __len__(self):
        return len(self.persons)


def test_people_are_side_by_side_in_ever_new_order():
    persons = np.random.default_rng(0).permutation(np.repeat(np.arange(9), [8, 8, 8, 8, 5, 3, 2, 1, 1]))
    batches = PersonBatches(SomePictures(persons), 6, shuffled=True, vary=False, persons=persons, together=2)
    first = batches._order()
    groups = persons[first].reshape(-1, 2)
    assert (groups[:, 0] == groups[:, 1]).all() and (first.reshape(-1, 2)[:, 0] != first.reshape(-1, 2)[:, 1]).all()
    assert len(first) == len(batches) * 6 and len(set(groups[:, 0].tolist()) & {7, 8}) == 0
    assert np.array_equal(first, batches._order())
    batches.reading = type(batches.reading)(seed=1)
    assert not np.array_equal(first, batches._order())


def test_pictures_that_are_made_while_training_show_a_person_twice():
    data = PeopleSeenOften(None, SIZE, 4, together=2)
    data.setup()
    assert isinstance(data.training, FreshPictures)
    (batch,) = [batch for batch, _ in zip(data.train_dataloader(), range(1), strict=False)]
    assert batch["person"][0] == batch["person"][1] != batch["person"][2] == batch["person"][3]


# Learning.


def steps_on(method, batch, count):
    optimiser = torch.optim.Adam([one for one in method.parameters() if one.requires_grad], 1e-3)
    method.train()
    for _ in range(count):
        prepared = method.prepared(batch)
        optimiser.zero_grad()
        method.weighted_total(method.losses(prepared, method.outputs(prepared))).backward()
        optimiser.step()


@pytest.mark.parametrize("encoders", ["one", "two"])
def test_two_steps_lower_the_losses(encoders, recogniser, batch):
    method = tiny(recogniser, network__encoders=encoders)
    method.mirror = None  # so that both look at the same people
    method.train()

    def measured():
        torch.manual_seed(0)
        prepared = method.prepared(batch)
        with torch.no_grad():
            losses = method.losses(prepared, method.outputs(prepared))
            return method.weighted_total(losses).item(), losses["vertices"].item()

    before = measured()
    steps_on(method, batch, 2)
    after = measured()
    assert after[0] < before[0] and after[1] < before[1]


def test_a_run_is_written_down_shown_exported_and_measured(recogniser, tmp_path, monkeypatch):
    monkeypatch.setattr(spectral_figures, "BATCHES", 2)
    monkeypatch.setattr(spectral_figures, "data_folder", lambda given, needed: Path("anywhere"))
    stranger = np.random.default_rng(0).normal(size=(2, 96)).astype(np.float32) / 2
    monkeypatch.setattr(
        spectral_figures, "ict_people", lambda method, path: [spectral_figures.scanned(method, *stranger)]
    )
    settings = tiny_settings(recogniser)
    overrides = {
        "network.recogniser": recogniser, "network.embedding": recogniser, "network.second_width": 8,
        "network.second_weights": None, "data.size": SIZE, "data.workers": 0, "data.batch_size": 2,
        "rendering.size": 48, "training.max_steps": 2, "training.max_minutes": None, "training.validation_batches": 1,
        "training.log_pictures_every": 1,
    }  # fmt: skip
    measured = fit("spectral", "open-small", overrides=overrides, output=tmp_path / "run")
    assert {"vertices", "structure", "landmark", "shape_error_mm", "mean_head_error_mm"} <= set(measured)
    assert all(np.isfinite(value) for value in measured.values())
    assert list((tmp_path / "run/pictures").iterdir())
    method = SpectralTraining(settings).eval()
    state, facts = method.exported()
    save_weights(tmp_path / "some.safetensors", state, "spectral", "open_head", facts)
    read = load_weights(tmp_path / "some.safetensors", "spectral", "open_head")
    network = SpectralNetwork.from_facts(read.facts["network"])
    network.load_state_dict({name: value for name, value in read.state.items() if not name.startswith("sureness.")})
    assert read.state["sureness.identity_deviation"].shape == (96,) and len(read.facts["key_names"]) == 52
    face, image, points = torch.rand(2, 3, 112, 112) * 2 - 1, torch.rand(2, 3, SIZE, SIZE), torch.rand(2, 478, 2)
    with torch.no_grad():
        identity = method.network(face, image, points)[:, :96]
        assert torch.equal(identity, method.network.identity(face, points))
        saved = network.eval()(face, None, points)  # in half precision, and without what was for the training
        assert saved.shape == (2, 96) and (saved - identity).abs().max() < 0.05
    figures = method.ablation_figures()
    assert (figures["pictures"], figures["people"]) == (4, 2)
    assert 0.3 < figures["scan_median_mm"] < figures["mean_head_error_mm"]
    kinds = ("scan", "metrical", "ict_scan", "ict_metrical")
    assert {f"{kind}_{part}_mm" for kind in kinds for part in ("median", "mean", "std")} <= set(figures)


def test_the_true_head_has_no_scan_error_and_a_larger_one_only_a_metrical(method):
    true = np.random.default_rng(0).normal(size=96).astype(np.float32)
    known = spectral_figures.scanned(method, true, true)
    assert spectral_figures.scan_figures(method, [known])["metrical_median_mm"] < 0.01


def test_a_picture_without_a_face_is_scored_as_the_mean_head(method, monkeypatch):
    subject = SimpleNamespace(pictures=[np.zeros((64, 64, 3), np.uint8)] * 3, scan=np.zeros((9, 3)), scan_landmarks68=0)
    monkeypatch.setattr(spectral_figures, "subjects", lambda path, people, cache: [subject])
    (coded,) = spectral_figures.ict_people(method, Path("anywhere"))
    assert not coded.identity.any() and coded.scan is subject.scan


# Presets.


def test_the_ablations_are_the_papers_three_rows():
    runs = {
        (run.name, run.seed): load_settings(SpectralSettings, "spectral", run.preset, overrides=run.overrides)
        for run in ablate.ablations("spectral")
    }
    papers = {(name, seed) for name in ("2d", "2d+vertices", "2d+vertices+3did") for seed in (1, 2, 3)}
    assert set(runs) == papers | {("one-encoder", 1)}
    assert runs["one-encoder", 1].network.encoders == "one" and runs.pop(("one-encoder", 1)).training.max_steps == 700
    weights = {name: (runs[name, 1].losses.vertices > 0, runs[name, 1].losses.structure > 0) for name, _ in runs}
    assert weights == {"2d": (False, False), "2d+vertices": (True, False), "2d+vertices+3did": (True, True)}
    assert {settings.training.max_steps for settings in runs.values()} == {700}
    assert {settings.network.landmarks for settings in runs.values()} == {"second"}, "the paper's identity sees none"


def test_the_paper_preset_has_the_published_numbers():
    chosen = load_settings(SpectralSettings, "spectral", "paper")
    weights, optimiser = chosen.losses, chosen.optimiser
    assert (weights.vertices, weights.structure) == (0.4 * 0.5, 0.4 * 0.5)
    decas = {"landmark": 1, "eye_distance": 1, "lip_distance": 0.5, "photometric": 2, "identity": 0.2,
             "identity_size": 1e-4, "expression_size": 1e-4, "albedo_size": 1e-4, "light": 1}  # fmt: skip
    assert {name: weights.weight(name) for name in decas} == pytest.approx(
        {name: 0.6 * weight for name, weight in decas.items()}
    )
    assert (optimiser.name, optimiser.learning_rate, optimiser.weight_decay) == ("adamw", 1e-5, 2e-4)
    assert chosen.training.max_steps == 160_000 and chosen.network.encoders == "one"
    assert chosen.data.batch_size == 8 * chosen.data.pictures_per_person


@pytest.fixture(scope="module")
def installed(prepared_flame):
    """FLAME, added: a head in its format."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asset_store, "model_path", {"flame2020": prepared_flame}.get)
        yield prepared_flame


def test_the_paper_preset_learns_from_people_of_flame(installed, recogniser):
    method = tiny(recogniser, "paper", losses__structure=0)
    split = method.network.parameter_split
    assert split == SpectralSplit() and method.truth_is_of_model and not method.network.keys
    mapping = method.network.identity_encoder.mapping
    assert sum(parameter.numel() for parameter in mapping.parameters()) == 571_086
    batch = pictures_of("flame2020")
    before = method.eval().prepared(batch)
    with torch.no_grad():
        first = method.losses(before, method.outputs(before))
    assert torch.isfinite(torch.stack(list(first.values()))).all()
    steps_on(method, batch, 2)
    with torch.no_grad():
        assert method.losses(before, method.outputs(before))["vertices"] < first["vertices"]


def test_of_photographs_of_scanned_people_the_identity_alone_is_known(installed, recogniser, batch):
    method = tiny(recogniser, "paper", losses__structure=0, expression="keys").eval()
    unknown = ("key_weights", "albedo", "rotation", "translation", "intrinsics", "light", "has_truth")
    known = pictures_of("flame2020")
    scanned = known | {name: torch.zeros_like(known[name]) for name in unknown}
    prepared = method.prepared(scanned)
    found = torch.zeros_like(prepared["identity"])
    terms = method._heads_compared(prepared, method.neutral(found))
    true = method._heads_compared(method.prepared(known), method.neutral(found))
    assert terms["vertices"]() == true["vertices"]() > 0
    in_crop = in_identity_crop(scanned, scanned["landmarks68"])["landmarks68"]
    assert torch.equal(prepared["landmarks68"], in_crop)


@pytest.fixture
def scans(tmp_path, data_folder) -> Path:
    """Two people of London as tight as MICA's scripts crop them, heads of FLAME with them, photographs made ready."""
    source = MediaPipeSource()
    for number, person in enumerate(("001", "002")):
        pictures, heads = (tmp_path / "LYHM" / name / person for name in ("arcface_input", "FLAME_parameters"))
        pictures.mkdir(parents=True)
        heads.mkdir(parents=True)
        for kind in ("neutral", "smiling"):
            image = load_photograph(data_folder / f"photos/london/{person}_{kind}.jpg").image
            crop = Picture(image).crop(identity_region(source.find(image).points68), 2 * FACE_SIZE)
            cv2.imwrite(str(pictures / f"{kind}.png"), crop[..., ::-1])
        betas = np.random.default_rng(number).normal(size=400)
        np.savez(heads / "head.npz", betas=betas, pose=np.zeros(15))
    prepare(tmp_path, tmp_path / "prepared", PreparedSettings("mediapipe", 144), kind="mica")
    return tmp_path


def test_scans_with_photographs_are_learnt_from(installed, recogniser, scans, tmp_path):
    overrides = {
        "network.recogniser": recogniser, "network.embedding": recogniser, "losses.structure": 0,
        "data.scans": str(scans), "data.size": SIZE, "data.batch_size": 2, "data.workers": 0, "rendering.size": 48,
        "optimiser.learning_rate": 1e-3, "training.max_steps": 2, "training.log_every": 1,
    }  # fmt: skip
    measured = fit("spectral", "paper", overrides=overrides, output=tmp_path / "run")
    assert {"vertices", "landmark", "photometric", "shape_error_mm"} <= set(measured)
    assert all(np.isfinite(value) for value in measured.values())
    with (tmp_path / "run/metrics.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["name"] == "train/vertices"]
    before, after = (float(row["value"]) for row in rows)
    assert after < before


def test_scans_are_heads_of_flame_2020(recogniser, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="300 shape coefficients of FLAME 2020, and face_model is open_head") as caught:
        tiny(recogniser, data__scans=str(tmp_path))
    assert caught.value.code == "scans-of-another-model"
    monkeypatch.setattr(spectral_parts, "load_face_model", lambda name: SimpleNamespace(identity_size=100))
    with pytest.raises(UsageError, match="face_model is a flame2020 with 100"):
        spectral_parts.model_of_pictures(tiny_settings(recogniser, "paper", data__scans=str(tmp_path)))


def test_landmarks_are_those_of_the_posed_head(method, batch):
    prepared = method.prepared(batch)
    codes = true_codes(method, prepared)
    assert torch.allclose(method.landmarks68(codes), method.model.landmarks68(method.posed(codes)), atol=1e-5)


def test_the_jaw_and_the_head_of_flame_turn(installed, recogniser):
    method = tiny(recogniser, "paper", losses__structure=0).eval()
    codes = method.network.decode(torch.zeros(2, 486))
    pose = torch.zeros(2, 6)
    pose[0, 3], pose[1, 1] = 0.3, 0.4
    still = method.landmarks68(codes)
    turned = SpectralCodes(**{**vars(codes), "pose": pose})
    moved = method.landmarks68(turned) - still
    assert moved[0, 8, 1] < -0.005 and moved[0, 36].norm() < 1e-3  # the chin goes down, the eye stays
    assert moved[1, 30, 0] > 0.01  # towards the subject's left


def test_flames_own_file_learns_from_pictures_of_others(recogniser, batch, tmp_path):
    """Its contour slides as the head turns, and no head is known."""
    write_flame_landmarks(tmp_path)
    file = str(write_flame_head(tmp_path / "generic_model.pkl"))
    method = tiny(recogniser, "paper", face_model=file, losses__vertices=0, losses__structure=0).eval()
    assert method.network.parameter_split == SpectralSplit() and not method.truth_is_of_model
    prepared = method.prepared(batch)
    outputs = method.outputs(prepared)
    losses = method.losses(prepared, outputs)
    assert "vertices" not in losses and torch.isfinite(torch.stack(list(losses.values()))).all()
    assert set(method.metrics(prepared, outputs)) == {"landmark_error_px"}
    assert method.pictures(prepared, outputs).shape == (PICTURES * 160, 4 * 160, 3)
    with pytest.raises(TrainingError, match="not known"):
        method.ablation_figures()
    with pytest.raises(UsageError, match=r"does not say where eyeballs and ears are\. Add the model"):
        region_weights(method.settings, method.model)
    with pytest.raises(UsageError, match=r"vertices compare with known heads of .* show people of open_head"):
        tiny(recogniser, "paper", face_model=file, losses__structure=0)


# Regions.


def test_regions_of_the_open_head_are_its_own(method):
    model = load_face_model("open_head")
    regions = regions_of(model)
    assert set(regions) == {"face", "eyes", "nose", "forehead", "mouth", "eyeballs", "ears"}
    points = model.points68.vertices[:, 0]
    assert regions["face"][points[30]] and regions["nose"][points[30]] and regions["mouth"][points[51]]
    assert regions["eyes"][points[39]] and not (regions["face"] & regions["eyeballs"]).any()
    weights = method.region_weights
    assert weights.mean().item() == pytest.approx(1, rel=1e-4)
    assert (weights[points[30]] / weights[regions["eyeballs"]]).min() > 10_000
    assert face_regions("open_head", method.model).keys() == regions.keys()


# What cannot be.


def test_a_mesh_autoencoder_of_another_face_model_is_refused(installed, recogniser):
    weights = "mesh-autoencoder-open-small"
    with pytest.raises(UsageError, match=r"of another face model than flame2020\. Train one .*losses\.structure=0"):
        tiny(recogniser, "paper", network__autoencoder=weights)
    with pytest.raises(UsageError, match=r"needs a mesh autoencoder of open_head.*network\.autoencoder"):
        tiny(recogniser, network__autoencoder=None)
    with pytest.raises(UsageError, match=r"nothing\.safetensors is missing; it should be of open_head\. Train one"):
        tiny(recogniser, network__autoencoder="nothing.safetensors")


def test_one_picture_a_person_cannot_be_swapped(recogniser):
    with pytest.raises(UsageError, match="one picture of each"):
        tiny(recogniser, data__pictures_per_person=1)
    with pytest.raises(UsageError, match="one picture of each"):
        tiny(recogniser, data__batch_size=1)
    alone = tiny(recogniser, data__pictures_per_person=1, shape_consistency=False)
    assert not isinstance(alone.data(alone.settings), PeopleSeenOften)


def test_people_that_are_not_seen_often_enough_are_refused(recogniser):
    often = PeopleSeenOften(None, SIZE, 6, together=3)
    with pytest.raises(UsageError, match=r"nobody more than 2 times.*pictures_per_person=2"):
        often.setup()
    odd = PeopleSeenOften(None, SIZE, 5, together=2)
    odd.setup()
    with pytest.raises(UsageError, match="multiple of data.pictures_per_person"):
        odd.train_dataloader()


def test_networks_that_are_missing_are_named(recogniser, tmp_path):
    with pytest.raises(UsageError, match=r"network\.embedding"):
        tiny(recogniser, network__embedding=None)
    with pytest.raises(UsageError, match="no state dict of an ArcFace IResNet"):
        tiny(str(Path(tmp_path) / "backbone100.pth"))
    with pytest.raises(UsageError, match=r"has width 32, the second encoder 8\. Set network\.second_width=32"):
        tiny(recogniser, network__second_weights="eye-motion-open-small")


def test_the_second_encoder_begins_with_eye_motions(recogniser):
    method = tiny(recogniser, network__second_weights="eye-motion-open-small", network__second_width=32)
    state = load_weights("eye-motion-open-small", "eye-motion").state
    assert torch.equal(method.network.second.layer3[2].conv2.weight, state["backbone.layer3.2.conv2.weight"])
    assert method.network.second.fc.out_features == method.network.parameter_split.total - 96
