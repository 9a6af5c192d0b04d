"""Shards of synthetic pictures, and batches out of them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import webdataset

from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.rendering.camera import Camera
from training.data import pictures, shards, synthesise
from training.data.batches import Batches, BatchLoader, Reading, SyntheticBatches
from training.data.pictures import ShardPictures, in_crop, open_shards
from training.data.sample import DenseLabels, Sample
from training.data.shards import ShardFolder, ShardSettings, shard_name, write_shards

PER_PERSON = shards.PICTURES_PER_PERSON


class Cards:
    """Stands in for the generator: flat pictures whose colour is a function of their number."""

    def __init__(self, settings: ShardSettings) -> None:
        self.settings = settings
        self.model = load_face_model("open_head")

    def photograph(self, index: int) -> Sample:
        size = self.settings.size
        chance = np.random.default_rng([self.settings.seed, index])
        camera = Camera.orbit(chance.uniform(-0.5, 0.5), 0.0, 1.0, size, focal_pixels=3.2 * size)
        points68 = camera.project(self.model.landmarks68(self.model.mean)).astype(np.float32)
        points478 = camera.project(self.model.landmarks478(self.model.mean)).astype(np.float32)
        parsing = np.zeros((size, size), np.uint8)
        parsing[size // 4 : size // 2, size // 4 :] = 1 + index % 9
        dense = None
        if self.settings.dense:
            depth = np.full((size, size), 0.5 + index / 1000, np.float32)
            dense = DenseLabels(depth, np.zeros((size, size, 3), np.float32), np.full((8, 8), 1e-4, np.float32))
        return Sample(
            image=np.full((size, size, 3), colour(index), np.uint8),
            seed=self.settings.seed,
            index=index,
            person=index // PER_PERSON,
            camera=camera,
            identity=chance.normal(size=self.model.identity_size).astype(np.float32),
            key_weights=np.arange(len(self.model.key_names), dtype=np.float32) / 100,
            albedo=chance.normal(size=pictures.label_shapes()["albedo"][0]).astype(np.float32),
            light=chance.normal(size=(9, 3)).astype(np.float32),
            closure=np.array([0.0, index / 1000], np.float32),
            eye_state=("open", "half"),
            gaze=np.ones((2, 2), np.float32),
            yaw=float(index),
            pitch=-1.0,
            landmarks68=points68,
            visible68=np.arange(68) % 2 == 0,
            landmarks478=points478,
            visible478=np.ones(478, bool),
            parsing=parsing,
            attributes={"light": "window", "age": np.float32(0.5)},
            dense=dense,
        )


def colour(index: int) -> tuple[int, int, int]:
    return (40 + index % 160, 90, 200 - index % 160)


def write(folder: Path, count: int, *, first: int = 0, seed: int = 3, size: int = 48, per_shard: int = 16, **options):
    return write_shards(
        folder, seed, first, count, size, options.pop("framing", "aligned"), options.pop("dense", False),
        options.pop("processes", 1), pictures_per_shard=per_shard, album=Cards, **options,
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_was_written_is_read_back(tmp_path: Path):
    assert write(tmp_path, 40, dense=True) == 40
    folder = ShardFolder(tmp_path)
    assert len(folder) == 40 and folder.indices.tolist() == list(range(40))
    assert folder.persons.tolist() == [index // PER_PERSON for index in range(40)]
    for index in (0, 17, 39):
        sample = Cards(folder.settings).photograph(index)
        labels = folder.labels(index)
        for name in ("identity", "key_weights", "albedo", "light", "closure", "gaze", "landmarks68", "visible478"):
            np.testing.assert_array_equal(labels[name], getattr(sample, name))
        assert (labels["index"], labels["person"], labels["seed"]) == (index, index // PER_PERSON, 3)
        np.testing.assert_allclose(labels["rotation"], sample.camera.rotation, atol=1e-6)
        np.testing.assert_allclose(labels["intrinsics"], sample.camera.intrinsics, rtol=1e-6)
        assert np.abs(folder.image(index).astype(int) - colour(index)).max() <= 3  # a JPEG
        np.testing.assert_array_equal(folder.parsing(index), sample.parsing)
        assert folder.attributes(index) == {"light": "window", "age": 0.5, "eye_state": ["open", "half"]}
        np.testing.assert_array_equal(folder.dense(index)["depth"], sample.dense.depth)
        np.testing.assert_allclose(folder.dense(index)["displacement"], 1e-4, rtol=1e-2)


def test_any_webdataset_reader_reads_the_shards(tmp_path: Path):
    write(tmp_path, 20)
    files = [str(tmp_path / shard_name(0, 16)), str(tmp_path / shard_name(16, 20))]
    stream = list(webdataset.WebDataset(files, shardshuffle=False))
    assert [entry["__key__"] for entry in stream] == [f"{index:09d}" for index in range(20)]
    assert {"image.jpg", "parsing.png", "labels.npy", "attributes.json"} <= set(stream[7])
    image = cv2.imdecode(np.frombuffer(stream[7]["image.jpg"], np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(image[0, 0, ::-1].astype(int) - colour(7)).max() <= 3


def test_the_files_are_the_same_for_any_number_of_processes(tmp_path: Path):
    write(tmp_path / "one", 40)
    write(tmp_path / "two", 40, processes=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_stopped_run_goes_on_and_ends_as_if_it_had_not_been_stopped(tmp_path: Path, monkeypatch):
    write(tmp_path / "whole", 48)
    made = []

    class Stopped(Cards):
        def photograph(self, index: int) -> Sample:
            if index == 21:
                raise KeyboardInterrupt
            return super().photograph(index)

    with pytest.raises(KeyboardInterrupt):
        write_shards(tmp_path / "cut", 3, 0, 48, 48, pictures_per_shard=16, album=Stopped)
    assert sorted(contents(tmp_path / "cut")) == [shard_name(0, 16), "shards.json"]

    class Counted(Cards):
        def photograph(self, index: int) -> Sample:
            made.append(index)
            return super().photograph(index)

    assert write_shards(tmp_path / "cut", 3, 0, 48, 48, pictures_per_shard=16, album=Counted) == 32
    assert made == list(range(16, 48))
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_longer_run_replaces_the_short_shard_at_the_end(tmp_path: Path):
    write(tmp_path, 20)
    assert write(tmp_path, 32) == 16
    assert sorted(contents(tmp_path)) == [shard_name(0, 16), shard_name(16, 32), "shards.json"]
    assert write(tmp_path, 5, first=18) == 0  # a whole shard holds them
    assert ShardFolder(tmp_path).indices.tolist() == list(range(32))


def test_a_folder_of_other_settings_is_left_alone(tmp_path: Path):
    write(tmp_path, 8)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="size 48 instead of 64") as caught:
        write(tmp_path, 8, size=64)
    assert caught.value.code == "shards-of-another-kind"
    assert contents(tmp_path) == before


def test_a_folder_without_shards_shows_what_was_expected(tmp_path: Path):
    with pytest.raises(UsageError, match=r"pictures-000000000-000000511\.tar"):
        ShardFolder(tmp_path / "nothing")
    (tmp_path / "shards.json").write_text('{"format": 1, "sed": 3}')
    with pytest.raises(UsageError, match=r"shards\.json"):
        ShardFolder(tmp_path)
    (tmp_path / "shards.json").unlink()
    write(tmp_path, 8)
    (tmp_path / shard_name(0, 8)).unlink()
    with pytest.raises(UsageError, match="no whole shard"):
        ShardFolder(tmp_path)


def test_a_damaged_shard_is_named(tmp_path: Path):
    write(tmp_path, 16)
    path = tmp_path / shard_name(0, 16)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 // 512 * 512])
    with pytest.raises(UsageError, match=path.name) as caught:
        ShardFolder(tmp_path).image(2)
    assert caught.value.code == "damaged-shard"


def test_a_full_disk_is_said_and_leaves_whole_shards_only(tmp_path: Path, monkeypatch):
    class Full(Cards):
        def photograph(self, index: int) -> Sample:
            if index == 20:
                raise OSError(28, "No space left on device")
            return super().photograph(index)

    with pytest.raises(UsageError, match="disk") as caught:
        write_shards(tmp_path, 3, 0, 32, 48, pictures_per_shard=16, album=Full)
    assert caught.value.code == "disk-full"
    assert sorted(contents(tmp_path)) == [shard_name(0, 16), "shards.json"]


# Batches.


def numbers(loader: BatchLoader, seed: int = 0) -> list[list[int]]:
    """The numbers of the pictures in each batch of a reading (their yaw stands for it)."""
    torch.manual_seed(seed)
    return [batch["yaw"].int().tolist() for batch in loader]


def loader_of(folder: Path, *, workers: int = 0, batch_size: int = 4, size: int = 48, **options) -> BatchLoader:
    data = SyntheticBatches(folder, size, batch_size, workers=workers, **options)
    data.setup()
    return data.train_dataloader()


def test_a_reading_shows_every_training_picture_once_in_an_order_of_its_own(tmp_path: Path):
    write(tmp_path, 80)
    loader = loader_of(tmp_path)
    first, second = numbers(loader, 0), numbers(loader, 1)
    kept = list(range(80 - PER_PERSON))  # the last person is held out
    assert sorted(sum(first, [])) == kept and sorted(sum(second, [])) == kept
    assert first != second and sum(first, []) != kept
    assert len(loader) == len(first) == 18


@pytest.mark.parametrize("workers", [1, 2])
def test_the_batches_do_not_depend_on_the_number_of_workers(tmp_path: Path, workers: int):
    write(tmp_path, 48)
    torch.manual_seed(5)
    alone = list(loader_of(tmp_path))
    torch.manual_seed(5)
    together = list(loader_of(tmp_path, workers=workers))
    assert len(alone) == len(together)
    for one, other in zip(alone, together, strict=True):
        for name in one:
            assert torch.equal(one[name], other[name]), name


def test_ranks_share_each_reading_without_overlap(tmp_path: Path):
    write(tmp_path, 48)
    pictures_of = ShardPictures(ShardFolder(tmp_path), 48)
    seen = []
    for rank in range(3):
        batches = Batches(pictures_of, 4, shuffled=True, vary=False)
        batches.reading = Reading(seed=9, rank=rank, ranks=3)
        seen.append([batch["yaw"].int().tolist() for batch in batches])
    assert {len(batches) for batches in seen} == {4}
    assert sorted(sum(sum(seen, []), [])) == list(range(48))


def test_a_batch_has_the_names_and_shapes_that_methods_are_written_for(tmp_path: Path):
    write(tmp_path, 16, size=64)
    batch = next(iter(loader_of(tmp_path, size=48)))
    shapes = {
        "image": (3, 48, 48), "identity": (96,), "key_weights": (52,), "albedo": (40,), "rotation": (3, 3),
        "translation": (3,), "intrinsics": (4,), "light": (9, 3), "closure": (2,), "gaze": (2, 2),
        "landmarks68": (68, 2), "visible68": (68,), "landmarks478": (478, 2), "visible478": (478,),
        "parsing": (48, 48), "person": (), "has_truth": (), "identity_known": (), "yaw": (), "pitch": (),
    }  # fmt: skip
    assert {name: tuple(value.shape[1:]) for name, value in batch.items()} == shapes
    assert all(len(value) == 4 for value in batch.values())
    assert batch["image"].dtype == torch.float32 and 0 <= batch["image"].min() <= batch["image"].max() <= 1
    assert batch["parsing"].dtype == torch.uint8 and batch["visible68"].dtype == torch.bool
    assert batch["has_truth"].all() and batch["identity_known"].all()
    np.testing.assert_allclose(batch["key_weights"][0], np.arange(52) / 100, rtol=1e-6)


def test_labels_follow_a_smaller_picture(tmp_path: Path):
    """The camera of the batch sees the head where its landmarks are, also after resizing."""
    write(tmp_path, 16, size=96)
    model = load_face_model("open_head")
    batch = next(iter(loader_of(tmp_path, size=48)))
    for row in range(4):
        camera = Camera(*batch["intrinsics"][row].tolist(), 48, 48).with_pose(
            batch["rotation"][row].numpy(), batch["translation"][row].numpy()
        )
        seen = camera.project(model.landmarks68(model.mean))
        np.testing.assert_allclose(seen, batch["landmarks68"][row], atol=0.01)


def test_a_portrait_is_cropped_as_a_regressor_gets_it_with_its_labels():
    model = load_face_model("open_head")
    sample = Cards(ShardSettings(1, 200, "portrait", False)).photograph(4)
    item = in_crop(pictures.item_of(sample), 128, "portrait", np.random.default_rng(3))
    assert item["image"].shape == (128, 128, 3) and item["parsing"].shape == (128, 128)
    camera = Camera(*item["intrinsics"], 128, 128).with_pose(item["rotation"], item["translation"])
    np.testing.assert_allclose(camera.project(model.landmarks68(model.mean)), item["landmarks68"], atol=0.01)
    outside = ((item["landmarks478"] < 0) | (item["landmarks478"] >= 128)).any(-1)
    assert not item["visible478"][outside].any()


def test_pictures_vary_in_training_only_and_only_their_colours_do(tmp_path: Path):
    write(tmp_path, 64)
    data = SyntheticBatches(tmp_path, 48, 8)
    data.setup()
    flat = next(iter(data.val_dataloader()))
    expected = torch.tensor([colour(int(number)) for number in flat["yaw"]]) / 255
    assert (flat["image"][:, :, 0, 0] - expected).abs().max() < 0.02
    varied = next(iter(data.train_dataloader()))
    expected = torch.tensor([colour(int(number)) for number in varied["yaw"]]) / 255
    assert (varied["image"][:, :, 0, 0] - expected).abs().max() > 0.05


def test_validation_shows_other_people_than_training(tmp_path: Path):
    write(tmp_path, 10 * PER_PERSON)
    data = SyntheticBatches(tmp_path, 48, 4)
    data.setup()
    trained = {int(person) for batch in data.train_dataloader() for person in batch["person"]}
    held_out = {int(person) for batch in data.val_dataloader() for person in batch["person"]}
    assert held_out == {9} and trained == set(range(9))
    assert data.people == 9


def test_the_training_package_gets_the_same_batches_again_from_the_same_random_state(tmp_path: Path):
    write(tmp_path, 48)
    loader = loader_of(tmp_path)
    torch.manual_seed(7)
    first = [batch["image"] for batch in loader]
    torch.manual_seed(7)
    again = [batch["image"] for batch in loader]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_shards_smaller_than_the_training_wants_are_refused(tmp_path: Path):
    write(tmp_path, 8)
    with pytest.raises(UsageError, match="48 px, the training wants 64 px"):
        loader_of(tmp_path, size=64)


def test_people_to_validate_with_are_of_the_same_face_model(tmp_path: Path):
    write(tmp_path / "training", 8)
    write(tmp_path / "validation", 8)
    described = tmp_path / "validation/shards.json"
    described.write_text(described.read_text().replace("open_head", "ict"))
    batches = SyntheticBatches(tmp_path / "training", 32, 2, validation_shards=tmp_path / "validation")
    with pytest.raises(UsageError, match="to train with are of open_head, those to validate with of ict"):
        batches.setup()


def test_shards_from_before_other_face_models_are_of_the_open_head(tmp_path: Path):
    write(tmp_path, 8)
    told = json.loads((tmp_path / "shards.json").read_text())
    told.pop("face_model")
    (tmp_path / "shards.json").write_text(json.dumps(told))
    assert shards.ShardFolder(tmp_path).settings.face_model == "open_head"
    assert pictures.shown_model("ict", str(tmp_path)) == "open_head"
    write(tmp_path, 16)  # goes on with them


def test_a_folder_smaller_than_a_batch_repeats_itself(tmp_path: Path):
    write(tmp_path, 16)
    batch = next(iter(loader_of(tmp_path, batch_size=24)))
    assert sorted(batch["yaw"].int().tolist()) == sorted([*range(8)] * 3)


def test_the_description_says_what_the_shards_are(tmp_path: Path):
    write(tmp_path, 8, framing="portrait")
    assert json.loads((tmp_path / "shards.json").read_text()) == {
        "format": 1, "seed": 3, "size": 48, "framing": "portrait", "dense": False,
        "pictures_per_person": PER_PERSON, "pictures_per_shard": 16, "face_model": "open_head", "views": "any",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--pictures-per-person", "0"], "at least 1"),
        (["--pictures-per-person", "3"], "multiple of --pictures-per-person, 3"),
    ],
)
def test_a_person_is_in_one_shard(words, sentence, tmp_path):
    with pytest.raises(UsageError, match=sentence):
        synthesise.main(["--output", str(tmp_path / "shards"), "--count", "8", *words])


def test_fewer_pictures_of_a_person_are_more_people(tmp_path):
    write_shards(tmp_path, 1, 0, 12, 32, pictures_per_person=4, pictures_per_shard=8, album=Cards)
    folder = open_shards(tmp_path, 32)
    assert folder.persons.tolist() == [0] * 4 + [1] * 4 + [2] * 4
