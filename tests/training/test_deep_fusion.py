"""DF-MVR's training: the known truth is its own answer, missing views count for nothing, left and right stay apart, and
what is exported is the same network."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from backend.errors import UsageError
from backend.methods.deep_fusion import coded_views
from backend.methods.deep_fusion_network import (
    ONE_VIEW,
    PAPER_SPLIT,
    VARIANTS,
    DeepFusionCodes,
    DeepFusionNetwork,
    DeepFusionSplit,
)
from backend.methods.eye_motion import Sureness, project
from backend.rendering.harmonic_conventions import rotated
from backend.rendering.shading import HarmonicLight
from backend.weights import load_weights, save_weights
from tests.face_model_files import write_bfm_front
from training import ablate
from training.data.batches import Reading, collate
from training.data.generator import SyntheticPeople
from training.data.pictures import FreshPictures, item_of
from training.data.shards import ShardSettings
from training.data.view_triples import TripleBatches, check_order, check_triples
from training.evaluation import deep_fusion_figures
from training.methods.deep_fusion import DeepFusionSettings, DeepFusionTraining, single_views
from training.methods.deep_fusion_views import FORMS, flat, form_of, form_probabilities, mirrored, shown_as
from training.methods.face_rendering import FaceRenderer
from training.settings import load_settings

SIZE, PEOPLE = 64, 2
SMALL = {
    "network.width": 4, "network.backbone_width": 16, "network.sees_landmarks": False, "network.face_parser": None,
    "losses.landmarks_alone": 0, "data.size": SIZE, "data.workers": 0, "data.batch_size": PEOPLE,
    "rendering.size": 32, "rendering.every": 1, "rendering.pictures": 0,
}  # fmt: skip
SUPERVISED = ("shape", "expression", "pose", "identity_codes", "key_weights", "albedo", "light_shown")


@pytest.fixture(scope="module")
def views():
    """Two people, as the reader gives them."""
    album = SyntheticPeople(3, SIZE, framing="aligned", pictures_per_person=3, views="triples")
    single = collate([item_of(album.photograph(index)) for index in range(3 * PEOPLE)])
    batch = {name: values.unflatten(0, (-1, 3)) for name, values in single.items()}
    return batch | {"person": batch["person"][:, 0], "present": torch.ones(PEOPLE, 3, dtype=torch.bool)}


def settings_of(preset="open-small", **changes):
    overrides = SMALL | {name.replace("__", "."): value for name, value in changes.items()}
    return load_settings(DeepFusionSettings, "deep-fusion", preset, overrides=overrides)


def small(preset="open-small", **changes):
    torch.manual_seed(0)
    return DeepFusionTraining(settings_of(preset, **changes))


@pytest.fixture(scope="module")
def method():
    return small()


@pytest.fixture(scope="module")
def with_landmarks():
    return small(network__sees_landmarks=True, losses__landmarks_alone=0.03).eval()


@pytest.fixture(scope="module")
def batch(method, views):
    return method.completed(views)


def true_codes(method, batch):
    """What a network would answer that knew everything; of the light, that of the front view."""
    rotation, translation = (values.unflatten(0, (-1, 3)) for values in method._true_pose(flat(batch)))
    turns = FaceRenderer.viewer_rotation(rotation[:, 1])
    pairs = zip(batch["light"][:, 1], turns, strict=True)
    light = torch.stack([rotated(HarmonicLight(light), turn).coefficients for light, turn in pairs])
    codes = (batch[name][:, 0] for name in ("identity", "key_weights", "albedo"))
    return DeepFusionCodes(*codes, rotation, translation, light)


def outputs_of(method, codes):
    """As `method.outputs`, of given codes."""
    points = method.model.points("landmarks68", codes.identity, codes.expression)
    single, camera = single_views(codes), torch.tensor(method.network.camera.intrinsics)
    landmarks = project(points.repeat_interleave(3, 0), single.rotation, single.translation, camera)
    return {"codes": codes, "points68": points, "landmarks68": landmarks.unflatten(0, (-1, 3))}


def only(batch, *shown):
    return shown_as(batch, torch.full((PEOPLE,), form_of(tuple(view in shown for view in range(3)))))


# Losses.


def test_the_true_codes_have_no_error(method, batch):
    """In the picture up to what a long lens cannot show of a photograph that was taken from near; of the light, up to
    the exposure of each view and to the harmonics, which are fitted to each."""
    outputs = outputs_of(method, true_codes(method, batch))
    error = (outputs["landmarks68"] - batch["landmarks68"]).norm(dim=-1)
    assert error.mean() < 0.02 * SIZE and error.mean((0, 2)).max() < 0.03 * SIZE
    losses = method.losses(batch, outputs)
    assert losses["landmarks3d"] < 0.01
    for name in set(SUPERVISED) - {"light_shown"}:
        assert losses[name] == pytest.approx(0, abs=1e-3), name


def test_the_light_of_one_view_is_that_of_the_others(method, batch):
    codes = true_codes(method, batch)
    same = method._supervised_terms(batch, {"codes": codes})["light_shown"]()
    other = method._supervised_terms(batch, {"codes": replace(codes, light=codes.light.flip(0))})["light_shown"]()
    assert same < 0.5 * other


def test_a_few_steps_bring_the_losses_down(batch):
    method = small(losses__photo=0, losses__reflectance=0)
    optimiser = torch.optim.Adam(method.parameters(), 3e-3)
    method.train()
    first = None
    for _ in range(12):
        losses = method.losses(batch, method.outputs(batch))
        first = first or {name: float(value.detach()) for name, value in losses.items()}
        optimiser.zero_grad()
        method.weighted_total(losses).backward()
        optimiser.step()
    for name in ("landmark", "pose"):
        assert float(losses[name].detach()) < 0.6 * first[name], name


def test_every_loss_has_a_gradient_at_the_codes(method, batch):
    parts = [
        values.clone().requires_grad_(True) for values in vars(method.network.decode(torch.zeros(2, 233))).values()
    ]
    losses = method.losses(batch, outputs_of(method, DeepFusionCodes(*parts)))
    assert set(losses) == {"photo", "landmark", "landmarks3d", "light", "reflectance", *SUPERVISED}
    for name, value in losses.items():
        gradients = torch.autograd.grad(value, parts, retain_graph=True, allow_unused=True)
        found = [gradient for gradient in gradients if gradient is not None]
        assert all(torch.isfinite(gradient).all() for gradient in found), name
        if name not in ("light", "reflectance"):  # both are least at the mean face in white light
            assert sum(gradient.abs().sum() for gradient in found) > 0, name


def test_the_mask_loss_needs_a_face_parser_and_teaches_the_face(method, batch):
    with pytest.raises(UsageError, match=r"network\.face_parser"):
        small(losses__mask=1)
    parser = torch.nn.Conv2d(3, 10, 3, padding=1).requires_grad_(False)
    taught = small(losses__photo=0, losses__reflectance=0)
    taught.settings = settings_of(losses__mask=1, losses__photo=0, losses__reflectance=0, mask_from=0.5)
    taught._parser = (parser,)
    assert "mask" not in taught.losses(batch, taught.outputs(batch))
    taught.eval()
    outputs = taught.outputs(batch)
    outputs["codes"].albedo.retain_grad()
    outputs["codes"].identity.retain_grad()
    taught.losses(batch, outputs)["mask"].backward()
    assert outputs["codes"].albedo.grad.abs().sum() > 0 and outputs["codes"].identity.grad.abs().sum() > 0


# Views that are missing, and their order.


def test_the_network_is_told_the_classes_that_a_parser_finds_where_there_is_one(method, batch, monkeypatch):
    truth = batch["parsing"].float()
    assert torch.equal(method.completed(batch)["views"][:, :, 3], truth)

    class Parser(torch.nn.Module):
        def labels(self, images):
            assert images.shape == (3 * PEOPLE, 3, SIZE, SIZE) and 0 <= images.min() and images.max() <= 1
            return (9 * images[:, 0]).to(torch.uint8)

    monkeypatch.setattr(method, "_parser", (Parser(),))
    completed = method.completed(batch)
    assert torch.equal(completed["views"][:, :, 3], (9 * batch["image"][:, :, 0].float()).to(torch.uint8).float())
    assert torch.equal(completed["parsing"].float(), truth)  # which the losses go on to weigh by


def test_two_times_in_three_all_views_are_shown():
    published, any_form = form_probabilities("published"), form_probabilities("any")
    assert published.sum() == pytest.approx(1) and any_form.sum() == pytest.approx(1)
    assert published[-1] == pytest.approx(2 / 3) and any_form[-1] == pytest.approx(2 / 3)
    assert torch.allclose(published[:3], torch.tensor(1 / 9)) and (published[3:6] == 0).all()
    assert torch.allclose(any_form[:6], torch.tensor(1 / 18))
    assert FORMS.sum(1).tolist() == [1, 1, 1, 2, 2, 2, 3]


def test_a_view_alone_is_seen_in_every_slot_and_counts_in_its_own(method, batch):
    alone = only(batch, 0)
    assert torch.equal(alone["present"], torch.tensor([[True, False, False]] * PEOPLE))
    for slot in range(3):
        assert torch.equal(alone["views"][:, slot], batch["views"][:, 0])
    outputs = {name: value for name, value in method.outputs(alone).items()}
    before = method.losses(alone, outputs)
    spoilt = {**alone}
    for name in ("landmarks68", "image", "rotation", "translation", "light"):
        spoilt[name] = alone[name].clone()
        spoilt[name][:, 1:] = spoilt[name][:, 1:].flip(0)
    after = method.losses(spoilt, outputs)
    assert {name: value.item() for name, value in before.items()} == pytest.approx(
        {name: value.item() for name, value in after.items()}
    )
    spoilt["landmarks68"] = alone["landmarks68"] + 5
    assert method.losses(spoilt, outputs)["landmark"].item() != pytest.approx(before["landmark"].item())


def test_the_landmarks_of_a_missing_view_say_nothing_of_the_face(with_landmarks, views):
    batch = with_landmarks.completed(views)
    shared = with_landmarks.network.parameter_split.total - 18
    network = with_landmarks.network.landmarks
    network.encoders[1].layers[-1].weight.data.normal_()
    network.encoders[2].layers[-1].weight.data.normal_()
    present = torch.tensor([[True, True, False]] * PEOPLE)
    other = batch["detected"].clone()
    other[:, 2] = 0.5
    with torch.no_grad():
        said, without = (network(points, present)[:, :shared] for points in (batch["detected"], other))
        seen = network(batch["detected"], batch["present"])[:, :shared]
    assert torch.equal(said, without) and (said - seen).abs().max() > 1e-2
    assert torch.isfinite(batch["detected"]).all()
    apart = (batch["detected"] * SIZE - views["landmarks478"]).norm(dim=-1)
    assert apart.mean() < 0.06 * SIZE


def test_landmarks_without_pictures_are_of_the_sides_that_they_are_said_to_be(with_landmarks):
    views, angles = with_landmarks.random_views, {}
    for slot in ("left", "front", "right"):
        rotation, translation = views._pose(slot, 50)
        x, _, z = (-rotation.mT @ translation[..., None]).squeeze(-1).unbind(1)
        angles[slot] = torch.rad2deg(torch.atan2(x, z))
    assert angles["left"].min() > 10 and angles["right"].max() < -10 and angles["front"].abs().max() < 40
    identity, landmarks = views(20, with_landmarks.model, with_landmarks.detectors)
    assert identity.shape == (20, 96) and landmarks.shape == (20, 3, 478, 2)
    assert (landmarks.mean(2) - 0.5).abs().max() < 0.25 and ((landmarks > -0.2) & (landmarks < 1.2)).all()


def test_landmarks_alone_teach_the_shape(with_landmarks, views):
    batch = with_landmarks.completed(views)
    loss = with_landmarks.losses(batch, with_landmarks.outputs(batch))["landmarks_alone"]
    loss.backward()
    assert with_landmarks.network.landmarks.encoders[0].layers[0].weight.grad.abs().sum() > 0
    assert with_landmarks.network.backbone.fc.weight.grad is None
    with pytest.raises(UsageError, match=r"network\.sees_landmarks"):
        small(losses__landmarks_alone=0.1)


def test_landmarks_are_taught_alone_before_the_run():
    changes = {"landmarks_first": 60, "data__people_without_pictures": 32, "optimiser__learning_rate": 2e-3}
    first = small(network__sees_landmarks=True, losses__landmarks_alone=0.1, **changes)
    pictures = {name: value.clone() for name, value in first.network.fusion.state_dict().items()}

    def error() -> float:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(1)
            return float(first._landmarks_alone())

    before = error()
    first.on_train_start()
    after = error()
    assert after < 0.8 * before
    assert all(torch.equal(value, pictures[name]) for name, value in first.network.fusion.state_dict().items())
    assert all(values.grad is None for values in first.network.landmarks.parameters())


def test_a_mirrored_person_shows_the_other_side_in_each_slot(method, views):
    chosen = torch.tensor([True, False])
    other = mirrored(views, method.mirror, chosen)
    assert torch.allclose(other["yaw"][0], -views["yaw"][0].flip(0)) and torch.equal(other["yaw"][1], views["yaw"][1])
    assert torch.equal(other["image"][0, 0], views["image"][0, 2].flip(-1))
    assert torch.equal(other["image"][1], views["image"][1])
    assert torch.equal(other["present"], views["present"]) and torch.equal(other["person"], views["person"])
    check_order(other["yaw"], other["person"][:, None])
    twice = mirrored(other, method.mirror, chosen)
    for name in ("image", "identity", "rotation", "light", "parsing"):
        assert torch.allclose(twice[name].float(), views[name].float(), atol=1e-4), name


def test_swapped_views_are_refused(views):
    check_order(views["yaw"], views["person"][:, None])
    swapped = views["yaw"].clone()
    swapped[1] = swapped[1].flip(0)
    with pytest.raises(UsageError, match="The views of person 1 are turned by") as error:
        check_order(swapped, views["person"][:, None])
    assert error.value.code == "views-swapped"


def test_batches_hold_people_from_three_sides_in_one_expression():
    pictures = FreshPictures(5, SIZE, 12, views="triples")
    batches = TripleBatches(pictures, 2, shuffled=True, vary=True)
    batches.reading = Reading(seed=1)
    assert len(batches) == 2
    order = batches._order().reshape(-1, 3)
    assert sorted(order[:, 0].tolist()) == [0, 3, 6, 9] and (np.diff(order, axis=1) == 1).all()
    batch = batches.batch(0, batches._order())
    assert batch["image"].shape == (2, 3, 3, SIZE, SIZE) and batch["present"].all() and batch["person"].shape == (2,)
    for name in ("identity", "key_weights", "closure"):
        assert torch.equal(batch[name][:, 0], batch[name][:, 2]), name


def test_shards_of_single_views_are_refused():
    def pictures(persons, **changes):
        settings = ShardSettings(1, SIZE, "aligned", False, 3, **changes)
        folder = SimpleNamespace(persons=np.array(persons), settings=settings, folder="SHARDS")
        return SimpleNamespace(folder=folder, positions=np.arange(len(persons)))

    check_triples(pictures([0, 0, 0, 1, 1, 1], views="triples"))
    with pytest.raises(UsageError, match="one side at a time"):
        check_triples(pictures([0, 0, 0, 1, 1, 1]))
    for cut in ([0, 0, 1, 1, 1, 2], [0, 0, 0, 1]):
        with pytest.raises(UsageError, match="cut in two"):
            check_triples(pictures(cut, views="triples"))


# What comes of it.


def test_figures_are_of_three_views_and_of_one(method, batch):
    method.eval()
    figures = method.metrics(batch, method.outputs(batch))
    method.train()
    assert {"shape_error_mm", "single_shape_error_mm", "single_landmark_error_px"} <= set(figures)
    assert {f"landmark_error_{slot}_px" for slot in ("left", "front", "right")} <= set(figures)
    nothing_known = figures["mean_head_error_mm"].item()
    assert figures["shape_error_mm"].item() == pytest.approx(nothing_known, rel=0.1)
    assert method.pictures(batch, method.outputs(batch)).shape == (PEOPLE * 112, 6 * 112, 3)


def test_the_network_is_surer_of_what_it_knows_better(method):
    true = torch.randn(60, 96, generator=torch.Generator().manual_seed(0))
    unsure = true + torch.randn(true.shape, generator=torch.Generator().manual_seed(1))
    left = torch.stack([torch.full((60, 52), 0.4), torch.full((60, 52), 0.2)])
    method.on_validation_epoch_start()
    method._held_out.append((torch.stack([unsure, 2 * true]), true, left))
    method.on_validation_epoch_end()
    state, _ = method.exported()
    three = Sureness.from_state(state)
    one = Sureness.from_state(
        {name.removeprefix(ONE_VIEW): v for name, v in state.items() if name.startswith(ONE_VIEW)}
    )
    assert torch.allclose(three.identity_gain, torch.tensor(0.5)) and (one.identity_gain < 0.8).all()
    assert three.identity_deviation.max() < 1e-3 and one.identity_deviation.min() > 0.4
    assert torch.allclose(three.expression_deviation, torch.tensor(0.2))
    assert torch.allclose(one.expression_deviation, torch.tensor(0.4))


def test_exported_weights_make_the_same_network(with_landmarks, views, tmp_path):
    state, facts = with_landmarks.exported()
    path = tmp_path / "some.safetensors"
    save_weights(path, state, "deep-fusion", "open_head", facts)
    loaded = load_weights(path, "deep-fusion", "open_head")
    network = DeepFusionNetwork.from_facts(loaded.facts["network"]).eval()
    own = {name: value.float() for name, value in loaded.state.items() if "sureness." not in name}
    network.load_state_dict(own)
    batch = with_landmarks.completed(views)
    with torch.no_grad():
        seen = batch["views"], batch["detected"], batch["present"]
        apart = (network(*seen) - with_landmarks.network(*seen)).abs().max()
    assert apart < 0.03  # half precision
    assert network.sees_landmarks and len(loaded.facts["key_names"]) == 52


def test_a_photograph_is_coded_as_in_training(with_landmarks):
    """From the whole photograph and the detector's points, with the front view alone and with all."""
    album = SyntheticPeople(4, 128, framing="portrait", pictures_per_person=3, views="triples")
    seen = [(sample.image, sample.landmarks478) for sample in map(album.photograph, range(3))]
    parser = SimpleNamespace(labels=lambda images: torch.zeros_like(images[:, 0], dtype=torch.uint8))
    network = with_landmarks.network
    alone = coded_views(network, [None, seen[1], None], parser)
    copied = coded_views(network, [seen[1]] * 3, parser)
    three = coded_views(network, seen, parser)
    assert alone.identity.shape == (1, 96) and alone.rotation.shape == (1, 3, 3, 3)
    assert not torch.equal(alone.identity, three.identity) and not torch.equal(alone.identity, copied.identity)
    with pytest.raises(ValueError, match="face parser"):
        coded_views(network, seen)


def test_figures_of_an_ablation_are_taken_over_people_held_out(method, monkeypatch):
    monkeypatch.setattr(deep_fusion_figures, "BATCHES", 1)
    monkeypatch.setattr(deep_fusion_figures, "SCANNED_PEOPLE", 1)
    figures = deep_fusion_figures.held_out_figures(method)
    assert figures["people"] == 1 and "ict_people" not in figures  # nobody knows the classes of their pixels
    for name in ("scan_median_mm", "single_scan_median_mm", "rmse_mm", "single_rmse_mm"):
        assert 0.3 < figures[name] < 4
    assert figures["single_shape_error_mm"] > 1


def test_the_ablations_are_the_papers_six_rows():
    runs = ablate.ablations("deep-fusion")
    rows = {run.name: load_settings(DeepFusionSettings, "deep-fusion", run.preset, overrides=run.overrides)
            for run in runs}  # fmt: skip
    assert list(rows) == list(VARIANTS)
    assert {name: sum(run.name == name for run in runs) for name in rows} == {
        "v1": 3, "v2": 1, "v3": 1, "v4": 1, "v5": 1, "v6": 3,
    }  # fmt: skip
    for name, settings in rows.items():
        network = settings.network.model_dump()
        base = rows["v6"].network.model_dump()
        assert {key: network[key] for key in network if network[key] != base[key]} == VARIANTS[name]
        assert (settings.losses.landmarks3d == 0) == (name == "v5")
        assert not settings.network.sees_landmarks and settings.training.max_steps == rows["v6"].training.max_steps
        assert all(settings.losses.weight(loss) == 0 for loss in SUPERVISED)


def test_the_paper_preset_has_269_outputs_and_the_published_weights(tmp_path, views):
    model = write_bfm_front(tmp_path / "BFM_model_front.mat", vertices=1200)
    published = load_settings(DeepFusionSettings, "deep-fusion", "paper")
    assert (published.network.width, published.network.backbone_width, published.data.size) == (64, 64, 224)
    weights = published.losses
    assert (weights.photo, weights.mask, weights.landmark, weights.landmarks3d) == (24, 1, 0.02, 1)
    assert (weights.coefficients, weights.light, weights.reflectance) == (3e-4, 10, 5)
    assert all(weights.weight(name) == 0 for name in SUPERVISED) and published.data.missing == "published"
    method = small("paper", face_model=str(model), losses__mask=0)
    assert method.network.parameter_split == PAPER_SPLIT == DeepFusionSplit() and PAPER_SPLIT.total == 269
    batch = method.completed(views)
    losses = method.losses(batch, method.outputs(batch))
    assert set(losses) == {"photo", "landmark", "landmarks3d", "coefficients", "light", "reflectance"}
    assert all(torch.isfinite(value) for value in losses.values())
