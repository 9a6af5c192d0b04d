"""What can be asked of an export, and where it is written: without Blender."""

import json
import os
from pathlib import Path

import pytest

from addon.export_presets import (
    DISPLACEMENT,
    FORMATS,
    KEYS,
    PARTS,
    PRESETS,
    ExportOptions,
    ExportOptionsError,
)
from addon.export_target import ExportError, staged
from backend import options as backend_options


def test_the_backend_offers_the_choices_that_the_addon_has():
    assert set(backend_options.BLENDER_FORMATS) == set(FORMATS)
    assert backend_options.EXPORT_PRESETS == tuple(PRESETS)
    assert backend_options.EXPORT_KEYS == KEYS
    assert backend_options.EXPORT_PARTS == PARTS
    assert backend_options.EXPORT_DISPLACEMENT == DISPLACEMENT


def test_every_format_has_a_plain_preset_of_its_name():
    for name in FORMATS:
        assert PRESETS[name].format == name and PRESETS[name].suffix == f".{name}"


def test_options_survive_their_json():
    options = ExportOptions("unreal", keys="used", parts="separate", texture_size=512, displacement="applied")
    assert ExportOptions.from_json(options.to_json()) == options
    assert ExportOptions.from_json("{}") == ExportOptions()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"preset": "maya"}, "no export preset called 'maya'. There are: fbx, unreal"),
        ({"keys": "some"}, "no choice of keys called 'some'"),
        ({"parts": ["joined"]}, "no choice of parts"),
        ({"displacement": True}, "no choice of displacement"),
        ({"texture_size": 3}, "0 (as it is) or 16 to 16384, not 3"),
        ({"texture_size": "512"}, "whole number of pixels, not '512'"),
        ({"colour": "red"}, "some of: displacement, keys, parts, preset, texture_size"),
        ([], "JSON object"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_a_sentence(values, words):
    with pytest.raises(ExportOptionsError) as refused:
        ExportOptions.from_json(json.dumps(values))
    assert words in str(refused.value)


def test_a_preset_holds_for_its_own_format_only():
    options = ExportOptions("unreal", keys="used")
    assert options.for_format("fbx") == options
    assert options.for_format("glb") == ExportOptions("glb", keys="used")


def test_a_preset_that_wants_a_still_head_gets_one_whatever_keys_are_asked_for():
    assert ExportOptions("metahuman", keys="all").keys_of(PRESETS["metahuman"]) == "none"
    assert ExportOptions().keys_of(PRESETS["fbx"]) == "all"
    assert ExportOptions(keys="none").keys_of(PRESETS["faceit"]) == "none"


def test_files_appear_together_when_the_block_ends_well_and_replace_older_ones(tmp_path):
    target = tmp_path / "kopf.obj"
    target.write_text("older")
    with staged(target) as folder:
        (folder / "kopf.obj").write_text("new")
        (folder / "kopf.mtl").write_text("new")
        assert target.read_text() == "older" and not (tmp_path / "kopf.mtl").exists()
    assert sorted(os.listdir(tmp_path)) == ["kopf.mtl", "kopf.obj"]
    assert target.read_text() == "new"


def test_nothing_appears_when_the_block_fails(tmp_path):
    target = tmp_path / "kopf.obj"
    target.write_text("older")
    with pytest.raises(ExportError, match="Blender could not write kopf.obj: the sky fell"), staged(target) as folder:
        (folder / "kopf.mtl").write_text("new")
        raise RuntimeError("Error: Python: Traceback\n  the sky fell\n")
    assert os.listdir(tmp_path) == ["kopf.obj"] and target.read_text() == "older"


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.glb").write_text("older")
    (tmp_path / "a.glb").symlink_to(tmp_path / "real" / "a.glb")
    with staged(tmp_path / "a.glb") as folder:
        (folder / "a.glb").write_text("new")
    assert (tmp_path / "a.glb").is_symlink() and (tmp_path / "real" / "a.glb").read_text() == "new"


def test_a_device_is_never_replaced():
    with pytest.raises(ExportError, match="/dev/full is there already"), staged(Path("/dev/full")):
        pytest.fail("nothing may be written")
    assert Path("/dev/full").is_char_device()
