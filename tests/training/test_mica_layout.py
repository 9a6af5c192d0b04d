"""Actors as MICA lays them out: K pictures without replacement, one fitted head, and folders that are others."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.errors import UsageError
from training.data import mica_layout
from training.data.mesh_files import write_obj
from training.data.mica_layout import open_mica, read_parameters, read_registration


def parameters(path: Path, seed: int = 0, betas: int = 400, pose: int = 15) -> dict[str, np.ndarray]:
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    arrays = {"betas": generator.normal(size=betas), "pose": generator.normal(size=pose)}
    np.savez(path, **arrays)
    return arrays


def picture(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 30, 3), value, np.uint8))
    return path


def a_set(root: Path, name: str = "LYHM", actors: int = 3, pictures: int = 5) -> Path:
    for actor in range(actors):
        parameters(root / name / f"FLAME_parameters/{actor:05d}/{actor:05d}.npz", actor)
        (root / name / f"registrations/{actor:05d}").mkdir(parents=True)
        for number in range(pictures):
            picture(root / name / f"arcface_input/{actor:05d}/view/{number}.png", 10 * number)
    return root


@pytest.mark.parametrize("name", ["FACEWAREHOUSE", "LYHM", "STIRLING", "FLORENCE"])
def test_each_of_the_four_sets_is_read(tmp_path: Path, name: str):
    folder = open_mica(a_set(tmp_path, name), name.lower())
    assert [actor.name for actor in folder.actors] == ["00000", "00001", "00002"] and len(folder) == 3
    assert not folder.left_out and len(folder.actors[0].pictures) == 5
    assert len(open_mica(tmp_path / name, name)) == 3


def test_an_item_is_one_actor_k_pictures_without_replacement_and_one_head(tmp_path: Path):
    folder = open_mica(a_set(tmp_path), "LYHM", pictures_per_item=4)
    truth = parameters(tmp_path / "LYHM/FLAME_parameters/00001/00001.npz", 1)
    generator, drawn = np.random.default_rng(0), set()
    for _ in range(30):
        item = folder.item(1, generator)
        assert len(set(item.pictures)) == 4 and all("00001" in path.parts for path in item.pictures)
        assert [int(image[0, 0, 0]) for image in item.images] == [10 * int(path.stem) for path in item.pictures]
        drawn |= set(item.pictures)
    assert len(drawn) == 5
    assert np.allclose(item.parameters.identity, truth["betas"][:300])
    assert np.allclose(item.parameters.expression, truth["betas"][300:])
    assert np.allclose(item.parameters.pose, truth["pose"][[0, 1, 2, 6, 7, 8]])


def test_the_same_generator_draws_the_same_items_and_every_actor_once(tmp_path: Path):
    folder = open_mica(a_set(tmp_path), "LYHM")
    first, second = ([item.pictures for item in folder.items(np.random.default_rng(3))] for _ in range(2))
    assert first == second and len({pictures[0].parts[-3] for pictures in first}) == 3


def test_a_picture_that_cannot_be_read_is_replaced_by_another(tmp_path: Path):
    folder = open_mica(a_set(tmp_path, pictures=3), "LYHM", pictures_per_item=2)
    folder.actors[0].pictures[0].write_bytes(b"no picture")
    for seed in range(8):
        item = folder.item(0, np.random.default_rng(seed))
        assert len(item.images) == 2 and folder.actors[0].pictures[0] not in item.pictures
    folder.actors[0].pictures[1].write_bytes(b"")
    with pytest.raises(UsageError, match="only 1 pictures can be read, but 2 are wanted"):
        folder.item(0, np.random.default_rng(0))


def test_actors_without_pictures_or_heads_are_left_out_and_said(tmp_path: Path):
    a_set(tmp_path)
    for path in (tmp_path / "LYHM/arcface_input/00000").rglob("*.png"):
        path.unlink()
    (tmp_path / "LYHM/FLAME_parameters/00002/00002.npz").unlink()
    folder = open_mica(tmp_path, "LYHM")
    assert [actor.name for actor in folder.actors] == ["00001"]
    assert "0 pictures" in folder.left_out["00000"] and "no .npz" in folder.left_out["00002"]


def test_a_wrong_folder_gets_the_tree_that_was_expected_and_what_is_there(tmp_path: Path):
    (tmp_path / "STIRLING").mkdir()
    (tmp_path / "STIRLING/notes.txt").touch()
    with pytest.raises(UsageError) as caught:
        open_mica(tmp_path, "STIRLING")
    assert caught.value.code == "wrong-data-folder"
    for words in ("Stirling/ESRC 3D", "FLAME_parameters/ACTOR/*.npz", "arcface_input/ACTOR", "notes.txt"):
        assert words in caught.value.sentence
    with pytest.raises(UsageError, match="does not exist"):
        open_mica(tmp_path / "nowhere", "LYHM")
    with pytest.raises(UsageError, match="FLORENCE"):
        open_mica(tmp_path, "FLORENZ")


def test_the_zip_alone_without_photographs_is_said(tmp_path: Path):
    parameters(tmp_path / "FLORENCE/FLAME_parameters/subject_01/x.npz")
    with pytest.raises(UsageError, match="photographs are not part of MICA's zip: they come from micc.unifi.it"):
        open_mica(tmp_path, "FLORENCE")


def test_parameters_that_are_others_are_said(tmp_path: Path):
    path = tmp_path / "a.npz"
    parameters(path, betas=150)
    with pytest.raises(UsageError, match=r"betas \(150\) and pose \(15\); MICA's have \(400\)"):
        read_parameters(path)
    np.savez(path, shape=np.zeros(300))
    with pytest.raises(UsageError, match="no betas and no pose, but shape"):
        read_parameters(path)
    np.savez(path, betas=np.full(400, np.nan), pose=np.zeros(15))
    with pytest.raises(UsageError, match="no numbers"):
        read_parameters(path)
    np.savez(path, betas=np.array([{}] * 400, object), pose=np.zeros(15))
    with pytest.raises(UsageError, match="cannot be read"):
        read_parameters(path)
    for content in (b"", b"PK\x03\x04 no zip"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="cannot be read"):
            read_parameters(path)


def test_a_registration_has_flames_vertices_in_their_order(tmp_path: Path):
    generator = np.random.default_rng(0)
    vertices, triangles = generator.normal(size=(5023, 3)), generator.integers(0, 5023, (9976, 3))
    write_obj(tmp_path / "a.obj", vertices, triangles)
    assert np.abs(read_registration(tmp_path / "a.obj") - vertices).max() < 1e-7
    write_obj(tmp_path / "a.obj", np.concatenate([vertices, vertices[:95]]), triangles)
    with pytest.raises(UsageError, match="5,118 vertices and 9,976 triangles; FLAME has 5,023"):
        read_registration(tmp_path / "a.obj")


def test_the_four_sets_have_as_many_actors_as_the_paper():
    assert sum(one.actors for one in mica_layout.SETS.values()) == 1510
    assert sum(one.images for one in mica_layout.SETS.values()) == 20_278
