"""Everything that a training run can be told, where it is read from, and what is said about wrong words in it.

A run's settings are the method's defaults, then a preset (`training/configs/<method>/<preset>.yaml`), then a file of
the user's, then words of the command line such as `losses.photo=1.8`; the later ones win. A preset or a file may begin
with `extends: NAME`, another preset of the same method that it changes.
"""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.errors import UsageError
from training.methods.registry import config_folder_name
from training.suggestions import unknown

CONFIGS = Path(__file__).resolve().parent / "configs"
NOT_PRESETS = ("ablations",)

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""The factor of a loss. A loss of weight 0 is not computed."""


class Section(BaseModel):
    """A group of settings. Words that it does not know are refused; values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class LossWeights(Section):
    """The weights of a method's losses: a method's own class has one field of type `Weight` a loss."""

    def weight(self, name: str) -> float:
        """The factor of a loss. KeyError where the method has no loss of this name."""
        if name not in type(self).model_fields:
            raise KeyError(name)
        return getattr(self, name)


class NetworkSettings(Section):
    """The sizes of a method's network: a method's own class adds fields."""


class DataSettings(Section):
    """What is trained on.

    Attributes:
        shards: folder written by `python3 -m training synthesise`; None makes the pictures while training.
        validation_shards: the same for held-out people; None takes the last part of `shards` (or other seeds).
        size: side of the pictures that the network gets, pixels.
        batch_size: pictures a step, on each device.
        workers: processes that read.
        seed: of the pictures that are made while training. Not that of the run, so that two runs that differ in
            their seed can see the same people.
        real_folders: folders written by `python3 -m training prepare`, of real photographs to mix in.
        real_share: which part of a batch comes from them.
    """

    shards: str | None = None
    validation_shards: str | None = None
    size: int = Field(224, ge=16)
    batch_size: int = Field(16, ge=1)
    workers: int = Field(1, ge=0)
    seed: int = Field(0, ge=0)
    real_folders: tuple[str, ...] = ()
    real_share: float = Field(0.0, ge=0, le=1)


class OptimiserSettings(Section):
    """How the parameters move.

    Attributes:
        name: Adam, Adam with decoupled weight decay, or gradient descent with momentum.
        learning_rate: at its highest.
        weight_decay: as the optimiser of this name takes it.
        momentum: of sgd.
        schedule: "constant"; "cosine" falls to `final_share` of the rate; "linear" does so on a line, "polynomial" as
            that line to a `power`.
        schedule_over: what the schedule counts: steps up to `training.max_steps`, minutes up to
            `training.max_minutes`, or "auto": minutes where they are limited, else steps.
        warm_up_steps: in which the rate rises from 0.
        final_share: of the learning rate, at the end.
        power: of "polynomial".
        gradient_limit: the norm to which longer gradients are cut; 0 leaves them.
    """

    name: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(1e-4, gt=0, allow_inf_nan=False)
    weight_decay: Weight = 0.0
    momentum: float = Field(0.9, ge=0, lt=1)
    schedule: Literal["constant", "cosine", "linear", "polynomial"] = "constant"
    schedule_over: Literal["auto", "steps", "minutes"] = "auto"
    warm_up_steps: int = Field(0, ge=0)
    final_share: float = Field(0.0, ge=0, le=1)
    power: float = Field(0.9, gt=0, allow_inf_nan=False)
    gradient_limit: Weight = 0.0


class TrainingSettings(Section):
    """How long, how exact, on what, and what is written down.

    Attributes:
        max_steps: optimiser steps; -1 for no limit.
        max_minutes: of training, over all resumed parts; None for no limit.
        precision: as Lightning names it: "32-true", "bf16-mixed", "16-mixed", "64-true".
        seed: of the initial weights and of every random choice of the run.
        log_every: steps between two lines of metrics.csv and points of TensorBoard.
        log_pictures_every: steps between two grids; 0 for none.
        validate_every: steps between two validations; 0 for none before the end.
        validation_batches: how many a validation looks at.
        checkpoint_every_minutes: between two checkpoints; there is always one at the end.
        accelerator, devices, nodes: as Lightning's Trainer takes them; more than one device trains with its DDP.
        accumulate: batches whose gradients are added to one step.
        threads: of torch's calculations on the CPU; 0 leaves it to torch.
    """

    max_steps: int = Field(-1, ge=-1)
    max_minutes: float | None = Field(None, gt=0)
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    seed: int = Field(0, ge=0, lt=2**32)
    log_every: int = Field(10, ge=1)
    log_pictures_every: int = Field(500, ge=0)
    validate_every: int = Field(0, ge=0)
    validation_batches: int = Field(32, ge=1)
    checkpoint_every_minutes: float = Field(10, gt=0)
    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = Field(1, ge=1)
    accumulate: int = Field(1, ge=1)
    threads: int = Field(0, ge=0)


class RunSettings(Section):
    """All settings of a run. A method's class narrows `network` and `losses` to classes of its own.

    Attributes:
        face_model: "open_head", the name of a face model that was added (`python3 -m backend assets list`), or the path
            of a licensed model's file.
        expression: what the expression codes are: weights of the ARKit "keys", the model's "own" coefficients, or
            "auto": keys of models that were prepared, own ones of a file.
    """

    face_model: str = "open_head"
    expression: Literal["auto", "keys", "own"] = "auto"
    network: NetworkSettings = NetworkSettings()
    losses: LossWeights = LossWeights()
    data: DataSettings = DataSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    training: TrainingSettings = TrainingSettings()


SettingsClass = TypeVar("SettingsClass", bound=RunSettings)


def presets(method: str) -> list[str]:
    """The names of a method's presets."""
    folder = CONFIGS / config_folder_name(method)
    return sorted(path.stem for path in folder.glob("*.yaml") if path.stem not in NOT_PRESETS)


def load_settings(
    settings_class: type[SettingsClass],
    method: str,
    preset: str | None = None,
    config: Path | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
) -> SettingsClass:
    """The settings of a run.

    Args:
        settings_class: of the method.
        method: its name.
        preset: name of a file in `training/configs/<method>`; None for the defaults of the class.
        config: a YAML file that changes the preset.
        overrides: "losses.photo=1.8" as on the command line (values are read as YAML), or {"losses.photo": 1.8}.

    Raises:
        UsageError: unknown preset or setting (names the nearest), a value that does not fit, a file that cannot
            be read.
    """
    values: dict[str, Any] = {}
    if preset is not None:
        values = preset_values(method, preset)
    if config is not None:
        merge(values, _file_values(method, config))
    merge(values, nested(overrides))
    return check(settings_class, values, method)


def check(settings_class: type[SettingsClass], values: Mapping[str, Any], method: str) -> SettingsClass:
    """Nested values as settings; UsageError where one is unknown or does not fit."""
    try:
        return settings_class.model_validate(values)
    except ValidationError as error:
        raise _as_sentence(error, settings_class, method) from error


def preset_values(method: str, preset: str) -> dict[str, Any]:
    """What a preset says, with what it extends, as nested dictionaries. Raises UsageError as `load_settings`."""
    if preset not in presets(method):
        raise unknown("preset", preset, presets(method), f"of {method}")
    return _file_values(method, CONFIGS / config_folder_name(method) / f"{preset}.yaml")


def nested(overrides: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """{"losses": {"photo": 1.8}} from ["losses.photo=1.8"] or {"losses.photo": 1.8}; UsageError for other words."""
    if not isinstance(overrides, Mapping):
        overrides = dict(_read_override(word) for word in overrides)
    values: dict[str, Any] = {}
    for key, value in overrides.items():
        *sections, last = key.split(".")
        inner: Any = {last: value}
        for section in reversed(sections):
            inner = {section: inner}
        merge(values, inner)
    return values


def without_sections(values: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of `nested`: {"losses.photo": 1.8} from {"losses": {"photo": 1.8}}."""
    return dict(_flatten(values))


def merge(values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Changes nested values in place; sections are merged, everything else is replaced."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            merge(values[key], value)
        else:
            values[key] = dict(value) if isinstance(value, Mapping) else value


def flat(settings: RunSettings) -> dict[str, Any]:
    """{"losses.photo": 1.8, ...}: every setting by its dotted name."""
    return dict(_flatten(settings.model_dump(mode="json")))


def differences(before: RunSettings, after: RunSettings) -> dict[str, tuple[Any, Any]]:
    """Dotted names of the settings that are not the same in two runs, with both values."""
    old, new = flat(before), flat(after)
    return {
        name: (old.get(name), new.get(name))
        for name in [*old, *(name for name in new if name not in old)]
        if old.get(name) != new.get(name)
    }


def write_settings(settings: RunSettings, path: Path) -> None:
    """As a YAML file that `--config` and `read_settings` take."""
    path.write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), "utf-8")


def read_settings(settings_class: type[SettingsClass], method: str, path: Path) -> SettingsClass:
    """The settings that `write_settings` wrote. Raises UsageError as `load_settings`."""
    return load_settings(settings_class, method, config=path)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _file_values(method: str, path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError("config-unreadable", f"The settings file {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError("config-unreadable", f"The settings file {path} is not YAML: {error}") from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise UsageError("config-unreadable", f"The settings file {path} holds no settings such as 'losses: ...'.")
    base = content.pop("extends", None)
    if base == path.stem and path.parent == CONFIGS / config_folder_name(method):
        raise UsageError("config-unreadable", f"The settings file {path} extends itself.")
    values = preset_values(method, str(base)) if base is not None else {}
    merge(values, content)
    return values


def _read_override(word: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise UsageError("bad-override", f"'{word}' is no setting. Write it as name=value, such as losses.photo=1.8.")
    try:
        return key, _number_or(yaml.safe_load(value))
    except yaml.YAMLError as error:
        raise UsageError("bad-override", f"The value in '{word}' cannot be read: {error}") from error


def _number_or(value: Any) -> Any:
    """YAML takes 1e-4 for a text (it wants 1.0e-4); people do not."""
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value
        return number if math.isfinite(number) else value
    return value


def _as_sentence(error: ValidationError, settings_class: type[RunSettings], method: str) -> UsageError:
    """The first thing that pydantic found wrong, in words."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    name = ".".join(path)
    if first["type"] != "extra_forbidden":
        return UsageError(
            "bad-setting", f"The setting {name} of {method} cannot be {first['input']!r}: {first['msg']}."
        )
    siblings = {".".join([*path[:-1], last]) for last in _section_at(settings_class, path[:-1]).model_fields}
    if difflib.get_close_matches(name, siblings, n=1, cutoff=0.75):
        return unknown("setting", name, siblings, f"of {method}")
    return unknown("setting", name, _names(settings_class), f"of {method}")


def _section_at(settings_class: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    for part in path:
        settings_class = settings_class.model_fields[part].annotation
    return settings_class


def _names(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings below a section."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _names(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
