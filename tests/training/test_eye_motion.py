"""Eye Motion's training: known truth is its own answer, mirrors are people too, and the presets run."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from backend import asset_store
from backend.embedding_files import read_embedding
from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.face_models.lid_keys import BLINK_CORRECTIVES
from backend.methods.eye_motion import PAPER_SPLIT, SEEN_TWICE, DecodedCodes, EyeMotion, EyeMotionNetwork, Sureness
from backend.networks.iresnet import IResNet
from backend.networks.resnet import resnet50
from backend.rendering.harmonic_conventions import rotated
from backend.rendering.shading import HarmonicLight
from backend.weights import load_weights, save_weights
from tests.face_model_files import write_bfm_front
from tests.stand_in_heads import write_flame_head, write_flame_landmarks
from training import ablate
from training.data.batches import collate
from training.data.expressions import random_expression
from training.data.generator import SyntheticPeople
from training.data.mirroring import Mirror, other_side
from training.data.pictures import item_of
from training.evaluation import eye_motion_figures, eye_motion_tables
from training.evaluation.eye_motion_figures import aperture_errors_mm, scan_summary
from training.fit import fit
from training.methods.eye_motion import (
    EyeMotionSettings,
    EyeMotionTraining,
    detected_examples,
    load_backbone,
    load_embedding,
)
from training.methods.eye_motion_pictures import picture_grid
from training.methods.face_rendering import FaceRenderer
from training.methods.identity_embedding import IdentityEmbeddingSettings, IdentityEmbeddingTraining
from training.settings import load_settings

SIZE = 96
PICTURES = 6
SMALL = {"network.width": 8, "data.size": SIZE, "data.workers": 0, "data.batch_size": 2}


@pytest.fixture(scope="module")
def batch():
    album = SyntheticPeople(3, SIZE, framing="aligned", pictures_per_person=2)
    batch = collate([item_of(album.photograph(index)) for index in range(PICTURES)])
    return batch | {"detected": batch["landmarks478"]}


def small(preset="open-small", **changes):
    overrides = SMALL | {name.replace("__", "."): value for name, value in changes.items()}
    return EyeMotionTraining(load_settings(EyeMotionSettings, "eye-motion", preset, overrides=overrides))


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    return small()


def true_codes(method, batch):
    """What a network would answer that knew everything."""
    rotation, translation = method._true_pose(batch)
    turns = FaceRenderer.viewer_rotation(rotation)
    pairs = zip(batch["light"], turns, strict=True)
    light = torch.stack([rotated(HarmonicLight(light), turn).coefficients for light, turn in pairs])
    return DecodedCodes(batch["identity"], batch["key_weights"], batch["albedo"], rotation, translation, light)


def landmarks_of(method, codes):
    points = method.model.points("landmarks68", codes.identity, codes.expression)
    camera = method.network.camera.camera(np.eye(3), np.zeros(3))
    turned = (points @ codes.rotation.transpose(1, 2) + codes.translation[:, None]).double().numpy()
    return torch.from_numpy(np.stack([camera.project(one) for one in turned])).float()


def test_the_truth_makes_every_supervised_loss_zero(method, batch):
    codes = true_codes(method, batch)
    terms = method._supervised_terms(batch, {"codes": codes})
    assert set(terms) == {"shape", "expression", "pose", "identity_codes", "key_weights", "albedo", "light_shown"}
    for name, term in terms.items():
        assert term().item() == pytest.approx(0, abs=1e-4), name


def test_the_true_codes_bring_the_landmarks_where_they_are(method, batch):
    """Up to what a long lens cannot show of a picture that was taken from near."""
    error = (landmarks_of(method, true_codes(method, batch)) - batch["landmarks68"]).norm(dim=-1)
    assert error.mean() < 0.015 * SIZE and error.median() < 0.01 * SIZE


def test_the_true_codes_are_drawn_over_the_face(method, batch):
    codes = true_codes(method, batch)
    rendered = method.renderer(codes, SIZE)
    for covered, parsing, occluder in zip(rendered.covered, batch["parsing"], batch["visible68"], strict=True):
        skin = torch.isin(parsing, torch.tensor((1, 2, 3, 6, 8, 9)))
        if occluder[17:].all():  # nothing lies before the face
            both, either = (covered & skin).sum(), (covered | skin).sum()
            assert both / skin.sum() > 0.6 and both / either > 0.35
    assert ((rendered.image >= 0) & (rendered.image <= 1)).all()


def test_the_rendered_face_passes_gradients_to_all_codes(method, batch):
    parts = [values[:1].clone().requires_grad_(True) for values in vars(true_codes(method, batch)).values()]
    method.renderer(DecodedCodes(*parts), 48).image.square().sum().backward()
    for part in parts:
        assert torch.isfinite(part.grad).all() and part.grad.abs().sum() > 0


def test_a_picture_in_the_mirror_is_another_person_with_right_labels(batch):
    model = load_face_model("open_head")
    mirror = Mirror(model)
    other = mirror.mirrored(batch)
    for index in range(PICTURES):
        vertices = model.neutral(batch["identity"][index].numpy())
        mirrored = model.neutral(other["identity"][index].numpy())
        assert np.abs(mirrored[model.mirror] * [-1, 1, 1] - vertices).max() < 2e-4
        inside = [*range(17, 68)]  # of the jaw the open head's points are not symmetric
        camera = other["intrinsics"][index].numpy()
        posed = model.key_offsets(mirrored).apply(
            mirrored, dict(zip(_names(model), other["key_weights"][index].numpy(), strict=True))
        )
        seen = model.landmarks68(posed) @ other["rotation"][index].numpy().T + other["translation"][index].numpy()
        pixels = seen[:, :2] / seen[:, 2:] * camera[:2] + camera[2:]
        wrong = np.linalg.norm(pixels - other["landmarks68"][index].numpy(), axis=1)[inside]
        assert np.median(wrong) < 0.01 * SIZE
    twice = mirror.mirrored(other)
    for name in ("image", "identity", "key_weights", "rotation", "translation", "closure", "light", "parsing"):
        assert torch.allclose(twice[name].float(), batch[name].float(), atol=1e-4), name


def _names(model):
    return [name for name in model.key_names if not name.endswith("Corrective")]


def test_only_the_chosen_pictures_are_mirrored(batch):
    chosen = torch.tensor([True, False] * (PICTURES // 2))
    mixed = Mirror(load_face_model("open_head"))(batch, chosen)
    assert torch.equal(mixed["image"][1], batch["image"][1])
    assert torch.equal(mixed["image"][0], batch["image"][0].flip(-1))


@pytest.mark.parametrize(
    ("name", "other"),
    [("eyeBlinkLeft", "eyeBlinkRight"), ("jawRight", "jawLeft"), ("left_brow", "right_brow"), ("jawOpen", "jawOpen")],
)
def test_names_change_their_side(name, other):
    assert other_side(name) == other


def test_a_few_steps_bring_landmarks_and_shape_nearer(batch):
    torch.manual_seed(1)
    method = small(network__width=16, losses__photo=0, losses__reflectance=0)
    optimiser = torch.optim.Adam(method.parameters(), 2e-3)
    method.train()
    first = None
    for _ in range(40):
        outputs = method.outputs(batch)
        losses = method.losses(batch, outputs)
        first = first or {name: float(value.detach()) for name, value in losses.items()}
        optimiser.zero_grad()
        method.weighted_total(losses).backward()
        optimiser.step()
    for name in ("landmark", "pose", "local_dynamic"):
        assert float(losses[name].detach()) < 0.5 * first[name], name


def test_losses_without_weight_are_not_computed(batch):
    method = small(losses__photo=0, losses__reflectance=0, losses__light=0, losses__pose=0)
    found = method.losses(batch, method.outputs(batch))
    assert set(found) == {
        "landmark", "local_dynamic", "shape", "expression", "identity_codes", "key_weights", "albedo", "light_shown",
    }  # fmt: skip


def test_photographs_without_truth_count_for_the_papers_losses_only(method, batch):
    real = batch | {
        name: torch.zeros_like(batch[name])
        for name in ("identity", "key_weights", "albedo", "rotation", "translation", "intrinsics", "light", "has_truth")
    }
    method.eval()
    losses = method.losses(real, method.outputs(real))
    assert all(torch.isfinite(value) for value in losses.values())
    assert losses["landmark"] > 0 and losses["photo"] > 0
    for name in ("shape", "expression", "pose", "identity_codes", "key_weights", "albedo", "light_shown"):
        assert losses[name] == 0, name
    assert all(torch.isfinite(value) for value in method.metrics(real, method.outputs(real)).values())


def test_sureness_is_what_is_left_after_the_best_gain(method):
    true = torch.randn(200, 96, generator=torch.Generator().manual_seed(0))
    said = 2 * true
    said[:, 1] = torch.randn(200, generator=torch.Generator().manual_seed(1))  # says nothing of this one
    keys = torch.full((200, 52), 0.2)
    method.on_validation_epoch_start()
    method._held_out.append((said, true, keys))
    method.on_validation_epoch_end()
    state, facts = method.exported()
    sureness = Sureness.from_state(state)
    assert sureness.identity_gain[0] == pytest.approx(0.5, abs=1e-3)
    assert sureness.identity_deviation[0] == pytest.approx(0, abs=1e-3)
    assert sureness.identity_gain[1] < 0.25 and sureness.identity_deviation[1] > 0.8
    assert torch.allclose(sureness.expression_deviation, torch.tensor(0.2))
    assert len(facts["key_names"]) == 52


def test_exported_weights_make_the_same_network(method, batch, tmp_path):
    state, facts = method.exported()
    path = tmp_path / "some.safetensors"
    save_weights(path, state, "eye-motion", "open_head", facts)
    loaded = load_weights(path, "eye-motion", "open_head")
    network = EyeMotionNetwork.from_facts(loaded.facts["network"])
    network.load_state_dict({name: value for name, value in loaded.state.items() if not name.startswith("sureness.")})
    method.eval()
    seen = batch["landmarks478"]
    with torch.no_grad():
        apart = (network.eval()(batch["image"], seen) - method.network(batch["image"], seen)).abs().max()
    assert apart < 0.02  # half precision


def test_the_picture_grid_shows_a_row_a_face(method, batch):
    codes = true_codes(method, batch)
    grid = picture_grid(method.renderer, batch, codes, batch["landmarks68"])
    assert grid.shape == (PICTURES * 160, 5 * 160, 3) and grid.dtype == np.uint8
    assert grid.std() > 10


def write_embedding(path):
    network = IResNet((1, 1, 1, 1), width=4, embedding=16)
    facts = {"network": {"blocks": [1, 1, 1, 1], "width": 4, "embedding": 16, "size": 112}}
    save_weights(path, network.state_dict(), "identity-embedding", "open_head", facts)
    return network


@pytest.mark.parametrize("sees_landmarks", [True, False])
def test_figures_of_an_ablation_are_taken_over_people_held_out(sees_landmarks, monkeypatch):
    monkeypatch.setattr(eye_motion_figures, "BATCHES", 3)
    torch.manual_seed(0)
    figures = eye_motion_figures.held_out_figures(small(network__sees_landmarks=sees_landmarks).eval())
    assert (figures["pictures"], figures["people"]) == (6, 3)  # fresh people are met two pictures at a time
    assert 0.5 < figures["scan_median_mm"] < 4 and 0.3 < figures["lid_aperture_error_mm"] < 15
    assert figures["landmark_error_px"] > 2


def test_the_networks_of_ours_see_landmarks_and_the_papers_does_not(method):
    assert method.network.sees_landmarks and not small(network__sees_landmarks=False).network.sees_landmarks
    assert not load_settings(EyeMotionSettings, "eye-motion", "paper").network.sees_landmarks


def test_a_photograph_of_unknown_people_brings_its_own_landmarks(method, batch):
    mixed = dict(batch) | {"has_truth": torch.tensor([True, False] * (PICTURES // 2))}
    mixed["landmarks478"] = batch["landmarks478"].clone()
    mixed["landmarks478"][-1] = 0  # face-alignment's 68 points are all there is
    seen = method.completed(mixed)["detected"]
    assert torch.equal(seen[1:-1:2], batch["landmarks478"][1:-1:2])
    assert method.network.landmark_encoder(seen[-1:] / SIZE).abs().max() < 0.1
    assert 0.2 * SIZE < seen[-1].mean() < 0.8 * SIZE
    apart = (seen - batch["landmarks478"])[::2].norm(dim=-1)
    assert 0.1 < apart.mean() < 0.05 * SIZE and torch.isfinite(seen).all()


def test_landmarks_alone_tell_a_persons_shape(method):
    """With a ridge of a few thousand examples; a picture of 96 pixels needs hours for as much."""
    landmarks = detected_examples(method.detectors, method.model, method.network.camera, 2000) / SIZE
    generator = np.random.default_rng(0)
    names = (*method.model.expression_names, *BLINK_CORRECTIVES.values())
    for _ in range(2000):
        random_expression(names, generator)
    generator.normal(0, 1, (2000, 6))  # turns and shifts
    identity = generator.normal(size=(2000, method.model.identity_size))
    encoder = method.network.landmark_encoder
    white = ((landmarks.flatten(1) - encoder.mean) @ encoder.whitening).double().numpy()
    assert np.allclose(np.cov(white.T), np.eye(white.shape[1]), atol=0.6)
    known, held_out = white[:1700], white[1700:]
    taught = np.linalg.solve(known.T @ known + 30 * np.eye(white.shape[1]), known.T @ identity[:1700])
    left = (held_out @ taught - identity[1700:])[:, :4]
    assert np.square(left).mean() < 0.75 * np.square(identity[1700:, :4]).mean()


def test_the_paper_preset_takes_two_steps_at_full_size(tmp_path):
    model = write_bfm_front(tmp_path / "BFM_model_front.mat", vertices=35709)
    write_embedding(tmp_path / "embedding.safetensors")
    overrides = {
        "face_model": str(model), "network.embedding": str(tmp_path / "embedding.safetensors"), "data.batch_size": 2,
        "data.workers": 0, "training.max_steps": 2, "training.validation_batches": 1, "training.log_pictures_every": 1,
    }  # fmt: skip
    measured = fit("eye-motion", "paper", overrides=overrides, output=tmp_path / "run")
    assert {"photo", "landmark", "perceptual", "local_dynamic", "coefficients", "reflectance"} <= set(measured)
    assert all(np.isfinite(value) for value in measured.values())
    assert list((tmp_path / "run/pictures").iterdir())


def test_the_paper_preset_has_239_outputs_and_the_published_weights(tmp_path):
    model = write_bfm_front(tmp_path / "BFM_model_front.mat", vertices=1200)
    overrides = {"face_model": str(model), "losses.perceptual": 0}
    settings = load_settings(EyeMotionSettings, "eye-motion", "paper", overrides=overrides)
    method = EyeMotionTraining(settings)
    assert method.network.parameter_split == PAPER_SPLIT and PAPER_SPLIT.total == 239
    assert method.network.backbone.conv1.out_channels == 64 and not method.network.keys
    published = load_settings(EyeMotionSettings, "eye-motion", "paper").losses
    assert (published.photo, published.landmark, published.perceptual) == (1.8, 1.6e-3, 0.17)
    assert (published.local_dynamic, published.coefficients, published.reflectance) == (0.5, 3e-4, 5.0)
    assert settings.data.batch_size == 5 and settings.optimiser.learning_rate == 1e-4
    for name in ("shape", "expression", "pose", "identity_codes", "key_weights", "albedo", "light_shown"):
        assert published.weight(name) == 0


def test_weights_with_torchvisions_names_are_taken(tmp_path):
    state = resnet50(width=8, outputs=1000).state_dict()
    torch.save(state, tmp_path / "resnet.pth")
    network = EyeMotionNetwork(PAPER_SPLIT, width=8, size=64)
    load_backbone(network.backbone, tmp_path / "resnet.pth", 50)
    assert torch.equal(network.backbone.layer3[2].conv2.weight, state["layer3.2.conv2.weight"])
    with pytest.raises(UsageError, match="does not hold a ResNet-50 of width 16"):
        load_backbone(EyeMotionNetwork(PAPER_SPLIT, width=16, size=64).backbone, tmp_path / "resnet.pth", 50)
    with pytest.raises(UsageError, match="does not hold"):
        load_backbone(network.backbone, tmp_path / "not there.pth", 50)


def test_a_perceptual_loss_without_an_embedding_says_what_to_set():
    with pytest.raises(UsageError, match=r"network\.embedding"):
        load_embedding(None)


def test_embeddings_are_read_from_our_weights_and_from_state_dicts(tmp_path):
    ours = write_embedding(tmp_path / "ours.safetensors").eval()
    torch.save(ours.state_dict(), tmp_path / "arcface.pth")
    faces = torch.rand(2, 3, 112, 112) * 2 - 1
    with torch.no_grad():
        wanted = ours(faces)
        assert torch.allclose(load_embedding(str(tmp_path / "arcface.pth"))(faces), wanted, atol=1e-5)
        assert torch.allclose(load_embedding(str(tmp_path / "ours.safetensors"))(faces), wanted, atol=0.05)
    (tmp_path / "wrong.pth").write_bytes(b"something else")
    with pytest.raises(UsageError, match="no state dict of an ArcFace IResNet"):
        read_embedding(tmp_path / "wrong.pth")


def test_the_embedding_learns_to_tell_people_apart(batch):
    torch.manual_seed(0)
    settings = IdentityEmbeddingSettings.model_validate(
        {"network": {"depth": 18, "width": 4, "embedding": 16, "people": 8, "scale": 16, "margin": 0.1}}
    )
    method = IdentityEmbeddingTraining(settings)
    optimiser = torch.optim.Adam(method.parameters(), 3e-3)
    values = []
    for _ in range(30):
        losses = method.losses(batch, method.outputs(batch))
        optimiser.zero_grad()
        losses["margin"].backward()
        optimiser.step()
        values.append(float(losses["margin"].detach()))
    assert np.mean(values[-5:]) < 0.6 * np.mean(values[:5])
    measured = method.metrics(batch, method.outputs(batch))
    assert measured["likeness_same"] > measured["likeness_different"]


def test_people_that_are_too_many_are_named(batch):
    settings = IdentityEmbeddingSettings.model_validate({"network": {"depth": 18, "width": 4, "people": 2}})
    method = IdentityEmbeddingTraining(settings)
    with pytest.raises(Exception, match=r"network\.people is 2"):
        method.losses(batch, method.outputs(batch))


def test_apertures_are_measured_on_the_mesh_whatever_its_size():
    points = torch.rand(2, 68, 3, generator=torch.Generator().manual_seed(0))
    assert aperture_errors_mm(1.3 * points, points).max() < 1e-2
    wider = points.clone()
    wider[:, 37] = points[:, 41] + 2 * (points[:, 37] - points[:, 41])
    gap = (points[:, 37] - points[:, 41]).norm(dim=1)
    assert torch.allclose(aperture_errors_mm(wider, points)[:, 0], 1000 * gap, rtol=1e-3)


def test_the_true_head_has_no_scan_error():
    generator = np.random.default_rng(0)
    true = generator.normal(size=96).astype(np.float32)
    assert scan_summary([(true, true)]).median < 0.01
    assert scan_summary([(np.zeros(96, np.float32), true)]).median > 0.3


def test_the_ablations_are_the_papers_three_rows():
    rows = {run.name: load_settings(EyeMotionSettings, "eye-motion", run.preset, overrides=run.overrides)
            for run in ablate.ablations("eye-motion")}  # fmt: skip
    assert set(rows) == set(eye_motion_tables.LDL_ROWS)
    assert rows["none"].losses.local_dynamic == 0
    assert rows["mouth"].losses.local_dynamic == rows["eyes-and-mouth"].losses.local_dynamic == 0.5
    assert (rows["mouth"].local_dynamic.eyes, rows["mouth"].local_dynamic.mouth) == (0, 1)
    assert (rows["eyes-and-mouth"].local_dynamic.eyes, rows["eyes-and-mouth"].local_dynamic.mouth) == (1, 1)
    for settings in rows.values():
        assert settings.losses.shape == settings.losses.pose == settings.losses.key_weights == 0


def test_the_ldl_table_comes_from_the_ablations(tmp_path, monkeypatch):
    monkeypatch.setattr(ablate, "RESULTS", tmp_path)
    options = SimpleNamespace(json=None)
    with pytest.raises(UsageError, match="training ablate eye-motion --only none"):
        eye_motion_tables.ldl_table(options)
    figures = {"lip_aperture_error_mm": 1.0, "scan_median_mm": 1.1, "scan_mean_mm": 1.3, "pictures": 9, "people": 3}
    (tmp_path / "eye_motion").mkdir()
    for name, lids in (("none", 2.0), ("mouth", 1.5), ("eyes-and-mouth", 1.0)):
        row = figures | {"lid_aperture_error_mm": lids, "aperture_error_mm": lids}
        (tmp_path / f"eye_motion/{name}-seed0.json").write_text(json.dumps({"name": name, "figures": row}))
    table = eye_motion_tables.ldl_table(options)
    assert "50.0 % less with the loss (at least 25 %: reached)" in table
    assert [line.split()[-5] for line in table.splitlines()[1:4]] == ["2.000", "1.500", "1.000"]


def test_validation_makes_the_network_say_how_sure_it_is(batch, monkeypatch):
    method = small(training__validation_batches=2)
    monkeypatch.setattr("training.methods.eye_motion.LEAST_PEOPLE", 4)
    loader = torch.utils.data.DataLoader([batch, batch], batch_size=None)
    Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False).validate(
        method, loader, verbose=False
    )
    assert (method.identity_deviation <= 1).all() and (method.identity_gain >= 0).all()
    assert not torch.equal(method.expression_deviation, torch.full((52,), 0.3))


def test_the_method_is_as_sure_as_its_weights_say(method):
    """What is measured, times what was known before, is what the network answers."""
    spread = torch.full((52,), 0.4)
    spread[3] = 0.2  # of this key the network knows no more than everybody
    mean = torch.full((52,), 0.1)
    sureness = Sureness(torch.full((96,), 0.5), torch.full((96,), 0.7), torch.full((52,), 0.2), mean, spread)
    inference = EyeMotion(method.network, sureness, method.model.expression_names, None, {})
    measured = inference.measurement(torch.ones(96), torch.full((52,), 0.3))
    assert measured.identity == pytest.approx(np.full(96, 0.5))
    assert measured.identity_deviation[0] == pytest.approx(0.7 * SEEN_TWICE)
    blind = small(network__sees_landmarks=False).network
    unseen = EyeMotion(blind, sureness, method.model.expression_names, None, {}).measurement(
        torch.ones(96), torch.full((52,), 0.3)
    )
    assert unseen.identity_deviation[0] == pytest.approx(0.7)
    weight, deviation = measured.keys["jawOpen"]
    assert 1 / deviation**2 + 1 / 0.4**2 == pytest.approx(1 / 0.2**2)
    assert (weight / deviation**2 + 0.1 / 0.4**2) * 0.2**2 == pytest.approx(0.3)
    assert method.model.expression_names[3] not in measured.keys and len(measured.keys) == 51


@pytest.fixture(scope="module")
def installed(prepared_flame, prepared_bfm):
    """Face models that were added: heads in the formats of FLAME and of the Basel Face Model."""
    paths = {"flame2020": prepared_flame, "bfm2009": prepared_bfm}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asset_store, "model_path", paths.get)
        yield paths


def flame_file(folder):
    """FLAME's file as its owner gives it out, with the file of its landmarks beside it."""
    write_flame_landmarks(folder)
    return write_flame_head(folder / "generic_model.pkl")


TINY = {"losses.perceptual": 0, "network.width": 16, "rendering.size": 48, "data.size": SIZE, "data.workers": 0}


def tiny_paper(face_model, **changes):
    overrides = (
        TINY | {"face_model": str(face_model)} | {name.replace("__", "."): value for name, value in changes.items()}
    )
    return EyeMotionTraining(load_settings(EyeMotionSettings, "eye-motion", "paper", overrides=overrides))


def steps_on(method, batch, count=25):
    """Losses at first and at last, of the same pictures over and over."""
    optimiser = torch.optim.Adam(method.parameters(), 2e-3)
    method.train()
    first = None
    for _ in range(count):
        losses = method.losses(batch, method.outputs(batch))
        first = first or {name: float(value.detach()) for name, value in losses.items()}
        optimiser.zero_grad()
        method.weighted_total(losses).backward()
        optimiser.step()
    return first, {name: float(value.detach()) for name, value in losses.items()}


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        ("flame file", (300, 100, 0)),
        ("bfm2009", (80, 52, 80)),
        ("own bfm2009", (80, 64, 80)),
    ],
)
def test_the_papers_losses_teach_any_face_model(model, sizes, installed, batch, tmp_path):
    torch.manual_seed(2)
    changes = {"expression": "own", "local_dynamic__eyes": 0} if model.startswith("own ") else {}
    method = tiny_paper(flame_file(tmp_path) if model == "flame file" else model.removeprefix("own "), **changes)
    assert (method.model.identity_size, method.model.expression_size, method.model.albedo_size) == sizes
    assert method.network.keys == (sizes[1] == 52)
    assert method.shown_model == "open_head" and not method.truth_is_of_model
    first, last = steps_on(method, method.prepared(batch))
    assert set(first) == {"photo", "landmark", "local_dynamic", "coefficients", "reflectance"}
    assert last["landmark"] < 0.5 * first["landmark"] and last["photo"] < first["photo"]
    grid = method.pictures(batch, method.outputs(batch))
    assert grid.shape == (PICTURES * 160, 5 * 160, 3)


@pytest.fixture(scope="module")
def flame_batch(installed):
    album = SyntheticPeople(3, SIZE, framing="aligned", pictures_per_person=2, face_model="flame2020")
    items = [item_of(album.photograph(index), "flame2020") for index in range(PICTURES)]
    return collate(items, "flame2020")


def small_flame(**changes):
    return small(face_model="flame2020", network__sees_landmarks=False, **changes)


def test_people_of_another_face_model_are_their_own_truth(flame_batch):
    method = small_flame()
    assert method.truth_is_of_model and method.shown_model == "flame2020" and method.mirror is None
    codes = true_codes(method, flame_batch)
    terms = method._supervised_terms(flame_batch, {"codes": codes})
    for name, term in terms.items():
        assert term().item() == pytest.approx(0, abs=1e-4), name
    error = (landmarks_of(method, codes) - flame_batch["landmarks68"]).norm(dim=-1)
    assert error.median() < 0.01 * SIZE
    wanted = method.closure(flame_batch["identity"], flame_batch["key_weights"])
    assert (wanted - flame_batch["closure"]).abs().max() < 0.05


def test_a_network_learns_from_people_of_another_face_model(flame_batch):
    torch.manual_seed(1)
    method = small_flame(network__width=16, losses__photo=0, losses__reflectance=0)
    first, last = steps_on(method, flame_batch, 20)
    for name in ("landmark", "pose", "local_dynamic"):
        assert last[name] < 0.7 * first[name], name


def test_a_loss_that_a_face_model_cannot_serve_is_a_sentence(installed, tmp_path):
    with pytest.raises(UsageError, match="own expression of flame2020 does not shut them. Set expression=keys"):
        tiny_paper("flame2020", expression="own")
    with pytest.raises(UsageError, match=r"losses shape, expression, .* people of open_head"):
        small(face_model="bfm2009", network__sees_landmarks=False)
    with pytest.raises(UsageError, match="known on the open head only"):
        small(face_model="flame2020")
    with pytest.raises(UsageError, match="There is: open_head"):
        tiny_paper("flame")
