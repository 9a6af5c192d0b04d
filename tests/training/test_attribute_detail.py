"""Training of skin detail: faces that are unwrapped, light on relief, losses, and what the network is asked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.detail_layout import layout_of
from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.face_parsing import PARSING_CLASSES
from backend.methods.attribute_detail import AttributeDetail
from backend.methods.attribute_detail_network import SEEN, AttributeDetailNetwork
from backend.rendering.camera import Camera
from backend.rendering.displacement import displaced_normals
from backend.rendering.shading import HarmonicLight, linear_to_srgb
from training.data import unwrapped
from training.data.sample import Sample
from training.data.shards import ShardFolder, ShardSettings, write_shards
from training.data.unwrapped import UnwrappedFaces, UnwrappedPairs, collated_faces, mirrored
from training.export import export
from training.fit import fit
from training.losses.detail import annealed, detail_regularisation, masked_pixel_loss
from training.methods.attribute_detail import AttributeDetailSettings, AttributeDetailTraining
from training.methods.detail_rendering import compared, light_on, openness, render
from training.runs.loading import load_run
from training.settings import load_settings

SIZE = 64
PICTURE = 96
SMALL = {
    "network.width": 4,
    "network.levels": 3,
    "network.embedding": 4,
    "network.regions": 3,
    "network.discriminator_width": 4,
    "losses.perceptual": 0,
    "data.size": SIZE,
    "data.workers": 0,
    "rendering.part": 1,
    "rendering.whole_every": 1,
}


@pytest.fixture(scope="module")
def model():
    return load_face_model("open_head")


@pytest.fixture(scope="module")
def layout(model):
    return layout_of(model, SIZE)


def settings(**overrides):
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    return load_settings(AttributeDetailSettings, "attribute-detail", "open-small", overrides=SMALL | named)


def face(layout, model, weights=None, seed=0, relief=None):
    """A face at rest or not, under a lamp from its left, with a relief (height, width) in metres."""
    neutral = model.mean.astype(np.float32)
    posed = model.key_offsets(neutral).apply(neutral, weights or {}).astype(np.float32)
    points, normals = layout.surface(torch.from_numpy(posed)[None])
    relief = torch.zeros(1, layout.height, layout.width) if relief is None else torch.as_tensor(relief)[None]
    light = HarmonicLight.directional((0.9, 0.2, 0.6), 0.7, 0.2).coefficients * torch.tensor([0.5, 0.35, 0.3])
    raised = displaced_normals(points, normals, relief.float(), layout.covered)
    lit = light_on(raised, light[None]) * openness(relief.float(), layout.millimetres_per_texel).unsqueeze(-1)
    noise = np.random.default_rng(seed).normal(0, 0.002, (layout.height, layout.width, 3))
    texture = linear_to_srgb(lit[0].clamp(0, 1)).numpy() + noise
    middle = np.stack(np.meshgrid(np.linspace(-0.4, 0.4, 112), np.linspace(-0.4, 0.4, 112)), axis=-1)
    shown = (texture.clip(0, 1) * 255).astype(np.uint8)
    return {
        "texture": shown,
        "even": shown,
        "trust": (layout.covered.numpy() * 255).astype(np.uint8),
        "posed": posed,
        "neutral": neutral,
        "rotation": np.eye(3, dtype=np.float32),
        "light": light.numpy(),
        "crop": np.zeros((112, 112, 3), np.uint8),
        "place": middle.astype(np.float16),
        "person": np.array(0, np.int64),
    }


def batch_of(*faces):
    return collated_faces(list(faces))


# Faces ----------------------------------------------------------------------------------------------------------------


class Ramps:
    """Stands in for the generator: skin everywhere, red as far right and green as far down as the pixel is."""

    def __init__(self, chosen) -> None:
        self.settings, self.model = chosen, load_face_model("open_head")

    def photograph(self, index: int) -> Sample:
        size, model = self.settings.size, self.model
        chance = np.random.default_rng([self.settings.seed, index])
        identity = chance.normal(0, 0.5, model.identity_size).astype(np.float32)
        camera = Camera.orbit(chance.uniform(-0.2, 0.2), 0.0, 0.9, size, focal_pixels=3.6 * size, target=(0, -0.02, 0))
        ramp = (np.arange(size) + 0.5) / size * 255
        image = np.full((size, size, 3), 128, np.uint8)
        image[..., 0], image[..., 1] = ramp, ramp[:, None]
        neutral = model.neutral(identity)
        points68, points478 = (
            camera.project(points).astype(np.float32)
            for points in (model.landmarks68(neutral), model.landmarks478(neutral))
        )
        return Sample(
            image=image,
            seed=self.settings.seed,
            index=index,
            person=index // self.settings.pictures_per_person,
            camera=camera,
            identity=identity,
            key_weights=np.zeros(len(model.key_names), np.float32),
            albedo=np.zeros(48, np.float32),
            light=np.zeros((9, 3), np.float32),
            closure=np.zeros(2, np.float32),
            eye_state=("open", "open"),
            gaze=np.zeros((2, 2), np.float32),
            yaw=0.0,
            pitch=0.0,
            landmarks68=points68,
            visible68=np.ones(68, bool),
            landmarks478=points478,
            visible478=np.ones(478, bool),
            parsing=np.full((size, size), PARSING_CLASSES.index("skin"), np.uint8),
        )


class Even(Ramps):
    """The same people with skin of one colour."""

    def photograph(self, index: int) -> Sample:
        sample = super().photograph(index)
        return replace(sample, image=np.full_like(sample.image, 150))


@pytest.fixture(scope="module", autouse=True)
def people_without_a_generator():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unwrapped, "_even_people", lambda *given: Even(ShardSettings(*given)))
        yield


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, 3, 0, 4, PICTURE, pictures_per_person=2, pictures_per_shard=4, album=Ramps)
    return folder


@pytest.fixture(scope="module")
def faces(shards, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    assert unwrap(shards, folder) == 0
    return folder


def unwrap(shards: Path, output: Path, *words: str) -> int:
    return unwrapped.main([str(shards), "--output", str(output), "--size", str(SIZE), "--processes", "1", *words])


def test_a_texel_has_the_colour_of_the_pixel_that_shows_it(shards, faces, layout):
    read, known = UnwrappedFaces(faces), ShardFolder(shards)
    assert len(read) == 4 and read.persons.tolist() == [0, 0, 1, 1]
    for position in range(4):
        item, labels = read.read(position), known.labels(position)
        camera = Camera(*labels["intrinsics"], PICTURE, PICTURE, labels["rotation"], labels["translation"])
        points, _ = layout.surface(torch.from_numpy(item["posed"])[None])
        trusted = item["trust"] > 200
        assert trusted.mean() > 0.2
        pixels = camera.project(points[0].numpy()[trusted])
        found = item["texture"][trusted][:, :2] / 255 * PICTURE
        assert np.abs(found - pixels).max() < 1.0
        assert (item["even"][trusted] == 150).all()


def test_a_stopped_unwrapping_goes_on_and_other_settings_are_refused(shards, tmp_path, capsys):
    unwrap(shards, tmp_path)
    first, *others = sorted((tmp_path / "faces").iterdir())
    before, times = np.load(first)["texture"], [path.stat().st_mtime_ns for path in others]
    first.unlink()
    unwrap(shards, tmp_path)
    assert "1 faces unwrapped, 3 were there" in capsys.readouterr().out
    assert np.array_equal(np.load(first)["texture"], before)
    assert [path.stat().st_mtime_ns for path in others] == times
    with pytest.raises(UsageError, match="64 texels, not of shards at 128") as refused:
        unwrap(shards, tmp_path, "--size", "128")
    assert refused.value.code == "unwrapped-otherwise"
    with pytest.raises(UsageError, match="multiple of 64"):
        unwrap(shards, tmp_path / "other", "--size", "100")


def test_a_mirrored_face_is_the_face_in_a_mirror(faces, layout, model):
    item = UnwrappedFaces(faces).read(0)
    item["posed"] = model.key_offsets(item["neutral"]).apply(item["neutral"], {"mouthSmileLeft": 1.0})
    item["light"] = np.random.default_rng(0).uniform(0.1, 0.2, (9, 3)).astype(np.float32)
    item["light"][0] = 3.0
    other = mirrored(item, model.mirror)
    assert np.array_equal(other["texture"], item["texture"][:, ::-1])
    maps, normals = [], []
    for one in (item, other):
        posed, neutral = (torch.as_tensor(one[name], dtype=torch.float32)[None] for name in ("posed", "neutral"))
        maps.append(layout.expression_map(posed - neutral)[0])
        normals.append(layout.surface(posed)[1])
    sign = torch.tensor([-1.0, 1.0, 1.0])
    inside = torch.minimum(layout.allowed, layout.allowed.flip(1)) > 0.9
    assert maps[0].abs().max() > 1.0
    # not exactly: the diagonals of quads are not mirrored
    alike((maps[1].permute(1, 2, 0))[inside], (maps[0].flip(2).permute(1, 2, 0) * sign)[inside], 0.1, 0.004)
    alike(normals[1][0][inside], (normals[0][0].flip(1) * sign)[inside], 0.4, 0.02)
    lit, lit_in_mirror = (
        light_on(where, torch.from_numpy(one["light"])[None])[0]
        for where, one in zip(normals, (item, other), strict=True)
    )
    alike(lit_in_mirror[inside], lit.flip(1)[inside], 0.3, 0.008)
    viewed, viewed_in_mirror = (
        torch.einsum("ij,hwj->hwi", torch.as_tensor(one["rotation"]), where[0])
        for where, one in zip(normals, (item, other), strict=True)
    )
    alike(viewed_in_mirror[inside], (viewed.flip(1) * sign)[inside], 0.4, 0.02)
    again = mirrored(other, model.mirror)
    assert all(np.allclose(again[name], item[name]) for name in item)


def alike(found, wanted, most, mean):
    away = (found - wanted).abs()
    assert away.max() < most and away.mean() < mean, (away.max(), away.mean())


def test_pairs_are_of_one_person_and_other_people_are_held_out(faces):
    data = UnwrappedPairs(faces, 1)
    data.setup()
    for loader, person in ((data.train_dataloader(), 0), (data.val_dataloader(), 1)):
        (batch,) = list(loader)
        assert batch["person"].tolist() == [person, person]
        assert not torch.equal(batch["texture"][0], batch["texture"][1])


def test_folders_that_hold_no_faces_are_refused(faces, tmp_path):
    with pytest.raises(UsageError, match="is no folder of unwrapped faces"):
        UnwrappedFaces(tmp_path)
    unwrapped.begin(tmp_path / "empty", unwrapped.UnwrappedSettings("shards", SIZE))
    with pytest.raises(UsageError, match="holds no unwrapped face"):
        UnwrappedFaces(tmp_path / "empty")
    with pytest.raises(UsageError, match="no photographs"):
        unwrapped.main([str(tmp_path / "empty"), "--kind", "photographs", "--output", str(tmp_path / "out")])


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_damaged_face_is_named(faces, tmp_path, kept):
    unwrapped.begin(tmp_path, unwrapped.UnwrappedSettings("shards", SIZE))
    whole = next((faces / "faces").iterdir())
    damaged = tmp_path / "faces" / whole.name
    damaged.write_bytes(whole.read_bytes()[:kept])
    with pytest.raises(UsageError, match=f"{damaged.name} is damaged. Delete it"):
        UnwrappedFaces(tmp_path).read(0)


# Light ----------------------------------------------------------------------------------------------------------------


def plane(relief, direction=(0.8, 0.0, 0.6)):
    """A flat piece of grey skin with a relief (H, W) in metres, a millimetre a texel, lit from a side."""
    height, width = relief.shape
    across, down = torch.meshgrid(torch.arange(width) / 1000, -torch.arange(height) / 1000, indexing="xy")
    points = torch.stack([across, down, torch.zeros_like(across)], dim=-1)[None]
    normals = torch.tensor([0.0, 0.0, 1.0]).expand_as(points)
    light = 0.5 * HarmonicLight.directional(direction, 0.8, 0.2).coefficients[None]
    texture, trust = torch.full((1, 3, height, width), 0.5), torch.ones(1, height, width)
    return render(relief[None], points, normals, light, texture, trust, trust[0].bool(), 1.0, 8.0)


def bump(size=40, deep=0.0005):
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return deep * torch.exp(-((row - size // 2) ** 2 + (column - size // 2) ** 2) / (2 * 2.0**2))


def test_without_relief_a_face_is_the_coarse_one():
    shown = plane(torch.zeros(40, 40))
    assert torch.allclose(shown.refined, shown.coarse, atol=1e-6)


def test_a_bump_is_brighter_on_the_side_of_the_lamp():
    refined = plane(bump()).refined[0, :, 20]
    assert (refined[:, 23] > refined[:, 17] + 0.05).all()
    other = plane(bump(), (-0.8, 0.0, 0.6)).refined[0, :, 20]
    assert torch.allclose(other.flip(1)[:, :-1], refined[:, 1:], atol=1e-4)  # texel 20 is the middle of 0 to 40


def test_less_light_reaches_a_pit():
    flat, pit, ridge = openness(torch.zeros(1, 40, 40), 1.0), openness(-bump()[None], 1.0), openness(bump()[None], 1.0)
    assert torch.allclose(flat, torch.ones(1, 40, 40))
    assert pit[0, 20, 20] < 0.95 and 1.0 < ridge[0, 20, 20] < 1.15
    from_above = plane(-bump(), (0.0, 0.0, 1.0)).refined[0, 0]
    assert from_above[20, 20] < from_above[20, 5] - 0.01


def test_gradients_reach_the_displacement():
    relief = torch.zeros(40, 40, requires_grad=True)
    wanted = plane(bump()).refined
    (plane(relief).refined - wanted).square().mean().backward()
    assert torch.isfinite(relief.grad).all() and relief.grad[16:25, 16:25].abs().min() > 0
    descended = plane(relief.detach() - 3e-7 * relief.grad / relief.grad.abs().max()).refined
    assert (descended - wanted).square().mean() < (plane(relief.detach()).refined - wanted).square().mean()


def test_what_is_of_another_colour_counts_less():
    texture = torch.full((1, 3, 40, 40), 0.5)
    texture[0, :, 18:23, 18:23] = torch.tensor([0.6, 0.35, 0.35]).view(3, 1, 1)  # a spot
    texture[0, :, 30:35, 30:35] = 0.35  # a shadow
    trust, allowed = torch.full((1, 40, 40), 0.8), torch.ones(40, 40)
    allowed[:5] = 0
    mask = compared(texture, trust, allowed, 1.0, 8.0, 0.1)[0]
    assert mask[:5].max() == 0 and mask[20, 20] < 0.3
    assert mask[32, 32] > 0.7 and mask[10, 10] > 0.75
    assert torch.equal(compared(texture, trust, allowed, 1.0, 8.0, 0.0), trust * allowed)


# Losses ---------------------------------------------------------------------------------------------------------------


def test_pixel_loss_equals_the_definition():
    generator = torch.Generator().manual_seed(0)
    rendered, photograph = (torch.rand(2, 3, 4, 5, generator=generator) for _ in range(2))
    mask = torch.rand(2, 4, 5, generator=generator)
    total = weight = 0.0
    for b in range(2):
        for row in range(4):
            for column in range(5):
                away = sum(abs(float(rendered[b, c, row, column] - photograph[b, c, row, column])) for c in range(3))
                total += float(mask[b, row, column]) * away / 3
                weight += float(mask[b, row, column])
    assert float(masked_pixel_loss(rendered, photograph, mask)) == pytest.approx(total / weight, rel=1e-5)
    assert float(masked_pixel_loss(rendered, photograph, 0 * mask)) == 0.0


def test_detail_regularisation_equals_equation_2():
    generator = np.random.default_rng(0)
    points, normals = generator.normal(size=(30, 3)), generator.normal(size=(30, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    displacement = generator.normal(0, 1e-3, 30)
    total = 0.0
    for point, normal, along in zip(points, normals, displacement, strict=True):
        refined = point + along * normal
        total += np.linalg.norm(1000 * (refined - point))
    measured = detail_regularisation(torch.from_numpy(displacement).view(1, 5, 6))
    assert float(measured) == pytest.approx(total / 30, rel=1e-5)


@pytest.mark.parametrize(
    ("shape", "shares"),
    [
        ("linear", {0.0: 1.0, 0.1: 0.8, 0.25: 0.5, 0.5: 0.0, 0.9: 0.0}),
        ("exponential", {0.0: 1.0, 0.25: 10**-1.5, 0.5: 1e-3, 1.0: 1e-6}),
        ("constant", {0.0: 1.0, 0.5: 1.0, 1.0: 1.0}),
    ],
)
def test_the_coefficient_of_the_regularisation_falls(shape, shares):
    for progress, share in shares.items():
        assert annealed(progress, 0.5, shape) == pytest.approx(share, rel=1e-4)
    assert annealed(0.3, 0.0, "linear") == 0.0


def test_annealing_follows_the_run_down_to_its_floor(monkeypatch):
    method = AttributeDetailTraining(
        settings(annealing__shape="linear", annealing__until=0.5, annealing__floor=0.2, losses__adversarial=0)
    )
    found = []
    for progress in (0.0, 0.25, 0.45, 1.0):
        monkeypatch.setattr(method, "progress", lambda step, progress=progress: progress)
        found.append(method.regularisation_share())
    assert found == pytest.approx([1.0, 0.5, 0.2, 0.2])


# The network and its training -----------------------------------------------------------------------------------------


@pytest.fixture
def method():
    torch.manual_seed(0)
    return AttributeDetailTraining(settings()).eval()


def test_both_pictures_of_a_pair_have_the_attributes_of_the_first(method, layout, model):
    smiling = {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0}
    first, second, other = face(layout, model), face(layout, model, smiling, 1), face(layout, model, seed=2)
    other["texture"] = 255 - other["texture"]

    def displacement(*pair):
        with torch.no_grad():
            return method.outputs(method.prepared(batch_of(*pair)))["displacement"]

    usual = displacement(first, second)
    assert torch.equal(displacement(first, second | {"texture": other["texture"]}), usual)
    changed = displacement(other, second)
    assert not torch.allclose(changed[0], usual[0], atol=1e-8) and not torch.allclose(changed[1], usual[1], atol=1e-8)
    calm = displacement(first, second | {"posed": first["posed"]})
    assert torch.equal(calm[0], usual[0]) and torch.allclose(calm[1], usual[0], atol=1e-9)
    assert not torch.allclose(calm[1], usual[1], atol=1e-8)


def test_without_a_constant_a_face_at_rest_has_no_detail():
    torch.manual_seed(0)
    seen = {name: torch.rand(1, channels, 16, 24) for name, channels in SEEN.items()}
    expression = 0.01 * torch.randn(1, 1, 3, 16, 24)
    for head in ("filters", "filters-times-embedding"):
        for constant in (False, True):
            network = AttributeDetailNetwork(width=4, levels=2, embedding=4, regions=3, head=head, constant=constant)
            network.eval()
            with torch.no_grad():
                attributes = network.attributes(seen)
                rest, once, twice = (network.displacement(attributes, by * expression) for by in (0.0, 1.0, 2.0))
            assert bool(rest.any()) == constant
            assert (once - rest).abs().max() > 1e-7
            assert (twice - 2 * once + rest).abs().max() < 0.02 * (once - rest).abs().max()


def test_losses_of_all_kinds_are_made_but_none_that_recognises_people_of_a_part(layout, model):
    torch.manual_seed(0)
    chosen = settings(losses__perceptual=0.02, rendering__part=0.5, rendering__whole_every=2)
    method = AttributeDetailTraining(chosen).train()
    batch = batch_of(face(layout, model), face(layout, model, {"jawOpen": 1.0}, 1))
    prepared = method.prepared(batch)
    whole = method.losses(prepared, method.outputs(prepared))
    assert set(whole) == {name for name in type(chosen.losses).model_fields if method.wants(name)}
    assert all(torch.isfinite(loss) and loss > 0 for loss in whole.values())
    prepared["part"] = slice(8, 32), slice(4, 32)
    outputs = method.outputs(prepared)
    assert outputs["displacement"].shape == (2, 24, 28)
    of_part = set(method.losses(prepared, outputs))
    assert "perceptual" not in of_part and {"pixel", "swapped", "detail_regularisation"} <= of_part < set(whole)


def test_detail_is_learnt_from_what_light_shows(layout, model):
    """Wrinkles across a face in a light from the side: known here, not to the method."""
    torch.manual_seed(0)
    rows = torch.arange(layout.height).view(-1, 1).expand(layout.height, layout.width)
    relief = 0.0008 * torch.sin(rows * (2 * torch.pi / 5)) * layout.allowed
    batch = batch_of(face(layout, model, relief=relief), face(layout, model, seed=1, relief=relief))
    method = AttributeDetailTraining(settings(losses__adversarial=0, losses__discriminator=0, network__albedo=False))
    prepared = method.prepared(batch)
    optimiser, found = torch.optim.Adam(method.network.parameters(), 5e-3), []
    for _ in range(40):
        outputs = method.outputs(prepared)
        losses = method.losses(prepared, outputs)
        found.append(float(losses["pixel"].detach()))
        optimiser.zero_grad()
        (losses["pixel"] + losses["swapped"]).backward()
        optimiser.step()
    assert found[-1] < 0.7 * found[0]
    inside = layout.allowed > 0.8
    seen = torch.stack([outputs["displacement"][0][inside].detach(), relief[inside]])
    assert float(torch.corrcoef(seen)[0, 1]) > 0.4


def test_a_run_learns_from_unwrapped_faces_and_its_weights_are_used(faces, model, tmp_path):
    chosen = SMALL | {
        "data.shards": str(faces),
        "data.batch_size": 1,
        "training.max_steps": 2,
        "training.max_minutes": None,
        "training.validate_every": 0,
    }
    fit("attribute-detail", "open-small", overrides=chosen, output=tmp_path / "run")
    weights = export("attribute-detail", tmp_path / "run", tmp_path / "attribute-detail-tiny.safetensors")
    trained = load_run("attribute-detail", tmp_path / "run").method.eval()
    ready = AttributeDetail.load(model, weights)
    assert ready.layout.size == SIZE and ready.weights == {"attribute-detail": "attribute-detail-tiny"}
    item = UnwrappedFaces(faces).read(1)
    shown = unwrapped.UnwrappedFace(
        item["texture"], item["trust"].astype(np.float32) / 255, item["posed"], item["neutral"], item["rotation"]
    )
    offsets = 0.01 * np.ones_like(item["neutral"])
    used = ready.displacement(ready.attributes(shown), [offsets])[0]
    batch = trained.prepared(collated_faces([UnwrappedFaces(faces).read(1)] * 2))
    with torch.no_grad():
        attributes = trained.attributes(batch)
        expression = trained.layout.expression_map(torch.from_numpy(offsets)[None])[:, None]
        wanted = trained.network.displacement(attributes, expression)[0, 0] * trained.layout.allowed
    assert np.abs(used).max() > 1e-8
    assert np.allclose(used, wanted.numpy(), atol=0.05 * np.abs(used).max())  # half precision


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"network__levels": 6}, "no multiples of 64. Set another data.size or fewer network.levels"),
        ({"face_model": "flame"}, "Set face_model=open_head"),
    ],
)
def test_settings_that_cannot_be_are_refused(overrides, words):
    with pytest.raises(UsageError, match=words):
        AttributeDetailTraining(settings(**overrides))


def test_missing_faces_and_faces_of_another_size_are_refused(method, layout, model):
    with pytest.raises(UsageError, match="python3 -m training unwrap SHARDS"):
        method.data(settings())
    batch = batch_of(face(layout, model), face(layout, model))
    batch["trust"] = batch["trust"][:, ::2, ::2]
    with pytest.raises(UsageError, match="24 x 28 texels, data.size=64 wants 48 x 56"):
        method.prepared(batch)
