"""Sampled and registered heads, and the training of the mesh autoencoder from its settings to weights that are used."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.networks.mesh_levels import mesh_levels
from backend.weights import shipped
from training.data import registered_heads
from training.data.registered_heads import (
    HeadData,
    HeadGeometry,
    SampledHeads,
    ScannedHeads,
    head_geometry,
    read_head,
    read_scans,
)
from training.export import export
from training.fit import fit
from training.methods import mesh_autoencoder
from training.methods.mesh_autoencoder import (
    SHIPPED,
    MeshAutoencoderSettings,
    MeshAutoencoderTraining,
    trained_autoencoder,
)
from training.methods.mesh_pictures import interpolation, shaded_heads
from training.runs.loading import load_run
from training.settings import load_settings

SIDE = 9
QUICK = {"data.heads": 64, "data.held_out": 8, "data.batch_size": 8, "training.max_steps": 3, "training.threads": 1}


@pytest.fixture
def small(monkeypatch) -> HeadGeometry:
    """A bumpy sheet of 20 cm that varies in three ways, in place of a head."""
    y, x = np.meshgrid(*[np.linspace(-0.1, 0.1, SIDE)] * 2, indexing="ij")
    points = np.stack([x, y, 0.05 * np.cos(15 * x) * np.cos(12 * y)], axis=-1).reshape(-1, 3).astype(np.float32)
    corner = (np.arange(SIDE - 1)[:, None] * SIDE + np.arange(SIDE - 1)).reshape(-1)
    first = np.stack([corner, corner + 1, corner + SIDE + 1], axis=1)
    faces = np.concatenate([first, np.stack([corner, corner + SIDE + 1, corner + SIDE], axis=1)])
    rows = np.arange(SIDE**2)
    waves = [x, np.cos(20 * y), x * y / 0.1]
    directions = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1]])
    identity = np.stack([wave.reshape(-1, 1) * way for wave, way in zip(waves, directions, strict=True)])
    identity = (0.01 * identity / np.abs(identity).max(axis=(1, 2), keepdims=True)).astype(np.float32)
    geometry = HeadGeometry(rows, points, faces, identity, rows, SIDE**2)
    for module in (registered_heads, mesh_autoencoder):
        monkeypatch.setattr(module, "head_geometry", lambda *_: geometry)
        monkeypatch.setattr(module, "head_levels", lambda *_: mesh_levels(points, faces, (2, 2, 2, 2)))
    return geometry


def write_obj(path: Path, points: np.ndarray, faces: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x:.7f} {y:.7f} {z:.7f} 0.5 0.5 0.5" for x, y, z in points.tolist()]
    lines += ["f " + " ".join(f"{corner + 1}//1" for corner in face) for face in faces.tolist()]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_what_is_learnt_of_the_open_head_is_its_skin_where_its_neutral_heads_are():
    model, geometry = load_face_model("open_head"), head_geometry("open_head")
    assert np.array_equal(geometry.rows, model.topology.part_vertices("skin"))
    codes = np.random.default_rng(0).standard_normal(model.identity_size).astype(np.float32)
    made = geometry.shape()(torch.from_numpy(codes)[None], torch.zeros(1, 0))[0].numpy()
    wanted = model.neutral(codes)[geometry.rows]
    assert np.linalg.norm(made - wanted, axis=1).mean() < 1e-4  # a tenth of a millimetre
    assert geometry.triangles.max() == len(geometry.rows) - 1


def test_the_spread_of_sampled_heads_is_that_of_the_heads_themselves(small):
    heads = SampledHeads(small, 50, seed=3)
    made = np.stack([small.template + np.tensordot(code, small.identity, axes=1) for code in heads.codes.numpy()])
    flat = made.reshape(50, -1)
    for kind in (heads, ScannedHeads(made, np.arange(50))):
        mean, factor = kind.spread()
        assert np.allclose(mean, flat.mean(axis=0), atol=1e-6)
        assert np.allclose(factor.T @ factor, np.cov(flat.T, bias=True), atol=1e-8)


def test_the_same_seed_gives_the_same_people_and_held_out_ones_are_others(small):
    one, two = (HeadData(small, 8, 20, 20, seed=5) for _ in range(2))
    assert torch.equal(one.training.codes, two.training.codes)
    assert not torch.isclose(one.training.codes[:, None], one.validation.codes[None]).all(-1).any()
    torch.manual_seed(0)
    first = [batch["person"].tolist() for batch in one.train_dataloader()]
    torch.manual_seed(0)
    assert first == [batch["person"].tolist() for batch in two.train_dataloader()]
    assert len(first) == one.steps_per_epoch == 2


def test_registered_scans_are_read_and_laid_on_the_mean_without_scaling(small, tmp_path):
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    for person in range(4):
        places = 1.1 * small.template @ turn.T + [0.3, -2.0, 5.0]
        write_obj(tmp_path / f"registrations/person{person}/neutral.obj", places, small.triangles)
    betas = tmp_path / "FLAME_parameters/person9/one.npz"
    betas.parent.mkdir(parents=True)
    np.savez(betas, betas=np.array([1.0, -2.0, 0.5, 9.0]))
    training, validation = read_scans(tmp_path, small)
    assert len(training) == 4 and len(validation) == 1
    wanted = 1.1 * (small.template - small.template.mean(0)) + small.template.mean(0)
    assert np.allclose(training.vertices[2], wanted, atol=1e-5)
    coded = small.template + small.identity[0] - 2 * small.identity[1] + 0.5 * small.identity[2]
    assert np.allclose(validation.vertices[0], coded, atol=1e-6)


@pytest.mark.parametrize("unit", [1000.0, 100.0, 0.001])
def test_a_scan_in_another_unit_is_refused(small, tmp_path, unit):
    with pytest.raises(UsageError, match="in metres") as error:
        read_head(write_obj(tmp_path / "a.obj", unit * small.template, small.triangles), small)
    assert error.value.code == "scan-in-another-unit"


def test_a_scan_of_another_topology_is_refused(small, tmp_path):
    fewer = write_obj(tmp_path / "fewer.obj", small.template[:-1], small.triangles[:5])
    with pytest.raises(UsageError, match="80 vertices, heads of the face model have 81"):
        read_head(fewer, small)
    order = np.random.default_rng(0).permutation(SIDE**2)
    place = np.argsort(order)
    mixed = write_obj(tmp_path / "mixed.obj", small.template[order], place[small.triangles])
    with pytest.raises(UsageError, match="in another order"):
        read_head(mixed, small)
    np.savez(tmp_path / "few.npz", betas=np.zeros(2))
    with pytest.raises(UsageError, match="2 coefficients, a head of the face model has 3"):
        read_head(tmp_path / "few.npz", small)


def test_damaged_and_missing_scans_are_refused(small, tmp_path):
    for name, content in {
        "empty.obj": "",
        "words.obj": "v one two three\n",
        "nan.obj": "v nan 0 0\n",
        "a.npz": "x",
    }.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(UsageError) as error:
            read_head(tmp_path / name, small)
        assert error.value.code == "scan-damaged"
    with pytest.raises(UsageError, match="registrations/<person>"):
        read_scans(tmp_path / "nowhere", small)
    (tmp_path / "registrations/somebody").mkdir(parents=True)
    with pytest.raises(UsageError, match="neither .obj nor .npz"):
        read_scans(tmp_path, small)
    write_obj(tmp_path / "registrations/somebody/a.obj", small.template, small.triangles)
    with pytest.raises(UsageError, match="two are the least"):
        read_scans(tmp_path, small)


def test_a_scan_of_the_models_whole_file_loses_what_is_not_learnt(small, tmp_path):
    part = dataclasses.replace(small, file_rows=small.rows + 2, file_size=SIDE**2 + 2)
    whole = np.concatenate([[[0.0, 0, 0], [0.1, 0.1, 0.1]], small.template])
    head = read_head(write_obj(tmp_path / "a.obj", whole, small.triangles + 2), part)
    assert np.allclose(head, small.template, atol=1e-5)


def test_the_paper_preset_has_the_published_schedule():
    settings = load_settings(MeshAutoencoderSettings, "mesh-autoencoder", "paper")
    chosen = settings.optimiser
    assert (chosen.name, chosen.learning_rate, chosen.momentum, chosen.epoch_decay) == ("sgd", 8e-3, 0.9, 0.99)
    assert (chosen.weight_decay, chosen.decays, settings.data.batch_size) == (5e-4, "dense", 16)
    network = settings.network
    assert (network.latent, network.widths, network.order) == (8, (16, 16, 16, 32), 6)
    assert network.latent_activation == "linear" and settings.data.part == "all"
    assert settings.training.max_steps == 300 * (settings.data.heads // settings.data.batch_size)


def test_the_rate_falls_after_every_epoch_and_the_dense_layers_alone_decay(small):
    settings = load_settings(
        MeshAutoencoderSettings, "mesh-autoencoder", "paper", overrides={"data.heads": 64, "data.batch_size": 16}
    )
    method = MeshAutoencoderTraining(settings)
    method.data(settings)
    assert [method.share_of_rate(step) for step in (0, 3, 4, 8)] == pytest.approx([1, 1, 0.99, 0.99**2])
    groups = method.configure_optimizers()["optimizer"].param_groups
    assert [group["weight_decay"] for group in groups] == [0.0, 5e-4]
    method.on_train_start()
    assert [group["weight_decay"] for group in groups] == [0.0, 5e-4]
    assert sum(parameter.numel() for parameter in groups[1]["params"]) == sum(
        parameter.numel()
        for layer in (method.network.to_code, method.network.from_code)
        for parameter in layer.parameters()
    )


def test_principal_components_are_the_yardstick(small):
    """Three modes are three numbers: eight components leave nothing, the mean head what it should."""
    method = MeshAutoencoderTraining(
        load_settings(MeshAutoencoderSettings, "mesh-autoencoder", "open-small", overrides=QUICK)
    )
    data = method.data(method.settings)
    batch = method.prepared(next(iter(data.val_dataloader())))
    figures = method.metrics(batch, method.outputs(batch))
    assert figures["pca_error_mm"] < 0.01
    by_hand = 1000 * np.linalg.norm(batch["vertices"].numpy() - method.mean_head.view(-1, 3).numpy(), axis=-1).mean()
    assert figures["mean_head_error_mm"] == pytest.approx(by_hand, rel=1e-4)


def test_training_lowers_the_error_and_its_weights_are_used_as_they_were_trained(small, tmp_path):
    overrides = {**QUICK, "training.max_steps": 150, "training.max_minutes": None, "optimiser.learning_rate": 3e-3}
    overrides |= {"optimiser.schedule_over": "steps", "training.log_pictures_every": 0, "training.validate_every": 0}
    measured = fit("mesh-autoencoder", "open-small", overrides=overrides, output=tmp_path / "run", arguments=["fit"])
    assert measured["error_mm"] < 0.6 * measured["mean_head_error_mm"]
    path = export("mesh-autoencoder", tmp_path / "run", tmp_path / "weights.safetensors")
    network, rows = trained_autoencoder(path)
    assert np.array_equal(rows, small.rows) and not any(value.requires_grad for value in network.parameters())
    method = load_run("mesh-autoencoder", tmp_path / "run").method
    heads = torch.from_numpy(small.template) + 0.002 * torch.randn(5, SIDE**2, 3)
    with torch.no_grad():
        assert torch.allclose(network(heads), method.network(heads), atol=1e-4)
        batches = method.data(method.settings).train_dataloader()
        codes = torch.cat([network.encode(method.prepared(batch)["vertices"]) for batch in batches])
    assert codes.mean(dim=0).abs().max() < 0.05 and (codes.std(dim=0, correction=0) - 1).abs().max() < 0.05
    row = interpolation(network, heads[0], heads[1], steps=5)
    assert torch.allclose(row[[0, -1]], network(heads[:2]), atol=1e-6)


def test_weights_of_a_mesh_of_another_size_are_refused(small, tmp_path, monkeypatch):
    fit("mesh-autoencoder", "open-small", overrides=QUICK, output=tmp_path / "run", arguments=["fit"])
    path = export("mesh-autoencoder", tmp_path / "run", tmp_path / "weights.safetensors")
    other = dataclasses.replace(small, template=small.template[:-1])
    monkeypatch.setattr(mesh_autoencoder, "head_geometry", lambda *_: other)
    with pytest.raises(UsageError, match="heads of 81 vertices; open_head has 80"):
        trained_autoencoder(path)


def test_it_trains_on_scans(small, tmp_path):
    generator = np.random.default_rng(1)
    for person in range(12):
        places = small.template + np.tensordot(generator.standard_normal(3), small.identity, axes=1)
        write_obj(tmp_path / f"scans/registrations/{person:02}/a.obj", places, small.triangles)
    overrides = {**QUICK, "data.scans": str(tmp_path / "scans"), "data.batch_size": 4}
    measured = fit("mesh-autoencoder", "open-small", overrides=overrides, output=tmp_path / "run", arguments=["fit"])
    assert measured["mean_head_error_mm"] > 1


def test_heads_are_drawn_as_they_stand_facing_the_camera():
    geometry = head_geometry("open_head")
    image = shaded_heads(torch.from_numpy(geometry.template)[None], torch.from_numpy(geometry.triangles), 96, yaw=0)[0]
    covered = (image < 250).all(axis=-1)
    assert 0.2 < covered.mean() < 0.8 and not covered[0].any() and not covered[:, 0].any()
    columns = np.flatnonzero(covered.any(axis=0))
    assert abs(columns.mean() - 47.5) < 2  # in the middle
    assert covered[20].sum() > 0 and covered[:48].sum() > covered[48:].sum() * 0.8  # the neck is below


@pytest.mark.skipif(SHIPPED not in shipped(), reason="the weights are not there")
def test_the_shipped_encoder_tells_people_apart_by_more_than_the_length_of_a_vector():
    network, rows = trained_autoencoder()
    model = load_face_model("open_head")
    generator = np.random.default_rng(11)
    heads = [model.neutral(generator.standard_normal(model.identity_size))[rows] for _ in range(24)]
    heads = torch.from_numpy(np.stack(heads))
    with torch.no_grad():
        codes = network.encode(heads)
        error = 1000 * (network.decode(codes) - heads).norm(dim=-1).mean()
        moved = network.encode(heads + 0.0002 * torch.randn(heads.shape, generator=torch.Generator().manual_seed(0)))
    mean_error = 1000 * (torch.from_numpy(head_geometry("open_head").template) - heads).norm(dim=-1).mean()
    assert error < 0.6 * mean_error
    cosine = torch.nn.functional.cosine_similarity(codes[:, None], codes[None], dim=-1)
    same = torch.nn.functional.cosine_similarity(codes, moved)
    others = cosine[~torch.eye(24, dtype=torch.bool)]
    assert same.mean() > 0.96 and same.min() > 0.85
    assert others.mean().abs() < 0.2 and others.min() < -0.3
