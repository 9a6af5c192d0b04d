"""Settings: where they come from, which of them wins, and what is said about wrong ones."""

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.errors import UsageError
from tests.training.tiny_method import TinySettings
from training import settings as settings_module
from training.methods.registry import METHODS, method_class
from training.settings import (
    differences,
    flat,
    load_settings,
    nested,
    presets,
    read_settings,
    without_sections,
    write_settings,
)


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings_module, "CONFIGS", tmp_path)
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "open.yaml").write_text("losses: {distance: 2}\noptimiser: {learning_rate: 1e-3}\n")
    (folder / "open-small.yaml").write_text("extends: open\nnetwork: {width: 3}\n")
    (folder / "ablations.yaml").write_text("preset: open\nruns: {}\n")
    return folder


def test_later_words_win(configs: Path, tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("losses: {size: 5, distance: 4}\n")
    settings = load_settings(TinySettings, "tiny", "open-small", file, ["losses.size=6", "training.max_steps=12"])
    assert settings.network.width == 3  # of the preset
    assert settings.optimiser.learning_rate == 0.001  # of the preset that it extends, in a form that YAML reads as text
    assert settings.losses.distance == 4  # of the file
    assert settings.losses.size == 6 and settings.training.max_steps == 12  # of the command line
    assert settings.data.batch_size == TinySettings().data.batch_size


def test_presets_are_the_files_beside_the_ablations(configs: Path):
    assert presets("tiny") == ["open", "open-small"]


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        ("losses.distanc=1", "losses.distance"),
        ("optimiser.learning_rat=1", "optimiser.learning_rate"),
        ("optimizer.learning_rate=1", "optimiser"),
        ("max_steps=1", "training.max_steps"),
        ("training.max_step=1", "training.max_steps"),
        ("network.widht=1", "network.width"),
    ],
)
def test_an_unknown_setting_names_the_nearest(words: str, suggestion: str):
    with pytest.raises(UsageError, match=f"Did you mean '{suggestion}'") as caught:
        load_settings(TinySettings, "tiny", overrides=[words])
    assert caught.value.code == "unknown-setting"


def test_an_unknown_preset_names_the_nearest_and_else_all(configs: Path):
    with pytest.raises(UsageError, match="no preset 'open-smal' of tiny. Did you mean 'open-small'"):
        load_settings(TinySettings, "tiny", "open-smal")
    with pytest.raises(UsageError, match="There are: open, open-small"):
        load_settings(TinySettings, "tiny", "xyz")


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'eye-motion'"):
        method_class("eye-motoin")


@pytest.mark.parametrize(
    "words",
    ["training.precision=bf16", "losses.distance=-1", "losses.distance=.nan", "data.batch_size=many", "network=3"],
)
def test_a_value_that_does_not_fit_is_named(words: str):
    with pytest.raises(UsageError) as caught:
        load_settings(TinySettings, "tiny", overrides=[words])
    assert caught.value.code == "bad-setting" and words.split("=")[0] in caught.value.sentence


@pytest.mark.parametrize("words", ["losses.distance", "=3", "losses.distance=[1"])
def test_a_word_that_is_no_setting_is_refused(words: str):
    with pytest.raises(UsageError) as caught:
        load_settings(TinySettings, "tiny", overrides=[words])
    assert caught.value.code == "bad-override"


@pytest.mark.parametrize("content", ["a: [", "- 1\n", "just words", b"\xff\xfe\x00"])
def test_a_settings_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | bytes):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match="mine.yaml"):
        load_settings(TinySettings, "tiny", config=file)
    with pytest.raises(UsageError, match="other.yaml cannot be read"):
        load_settings(TinySettings, "tiny", config=tmp_path / "other.yaml")


def test_settings_come_back_from_their_file(tmp_path: Path):
    settings = load_settings(TinySettings, "tiny", overrides=["data.real_folders=[a, b]", "training.max_minutes=1.5"])
    write_settings(settings, tmp_path / "settings.yaml")
    assert read_settings(TinySettings, "tiny", tmp_path / "settings.yaml") == settings


def test_differences_are_told_by_dotted_name():
    before = TinySettings()
    after = load_settings(TinySettings, "tiny", overrides={"losses.size": 3, "training.seed": 9})
    assert differences(before, after) == {"losses.size": (0.01, 3.0), "training.seed": (0, 9)}
    assert differences(before, before) == {}


NAMES = st.sampled_from(["a", "b", "long_name"])
SECTIONS = st.dictionaries(NAMES, st.integers() | st.dictionaries(NAMES, st.integers(), min_size=1))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SECTIONS)
def test_nested_and_dotted_names_are_the_same(values):
    assert nested(without_sections(values)) == values


@pytest.mark.parametrize("method", METHODS)
def test_every_preset_of_every_method_fits_its_settings(method: str):
    method_type = method_class(method)
    assert presets(method), "a method without presets"
    for preset in presets(method):
        settings = load_settings(method_type.Settings, method, preset)
        assert set(flat(settings)) == set(flat(method_type.Settings()))


@pytest.mark.parametrize("method", METHODS)
def test_every_ablation_fits_the_settings_of_its_method(method: str):
    from training.ablate import ablations

    path = settings_module.CONFIGS / method.replace("-", "_") / "ablations.yaml"
    if not path.is_file():
        pytest.skip("this method has none")
    assert set(yaml.safe_load(path.read_text())) <= {"preset", "seeds", "one_seed", "overrides", "runs"}
    for ablation in ablations(method):
        load_settings(method_class(method).Settings, method, ablation.preset, overrides=ablation.overrides)
