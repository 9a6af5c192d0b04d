"""The face models that a head can be made from, and the other files that Lifemask can use, with their licences. No bpy.

The backend says what there is: the models in its handshake, everything in its answer to `assets.list`. Before it is
started, the models are read from the records that it left in Lifemask's folder.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

log = logging.getLogger(__name__)

OPEN_HEAD = "open_head"
FACE_MODEL = "face_model"
"""The kind of an asset that is a face model."""

RECORDS, PREPARED = "face_models/*/asset.json", "model.npz"
"""Below Lifemask's folder: the record of each model that was added; the model itself lies beside it."""

PREPARATION = 2
"""Of the models that this Lifemask can use; backend/asset_store.py has it too, and a test holds the two equal."""

ADDRESS = re.compile(r"https?://[^\s<>\"']+")


@dataclass(frozen=True)
class Asset:
    """A face model, or another file that heads are made with.

    Attributes:
        name: for programs; label: for people.
        kind: "face_model", "detector" …
        installed: whether it can be used now.
        licence: its short name; sentence: what it allows, in words.
        commercial: whether what is made with it may be sold; False where nobody says so.
        size: bytes of the original file or files; 0 where that is not known.
        sha256: of the file, or empty.
        source: where its owner gives it out, in words or as an address.
        fetchable: its licence lets anyone download it.
        outdated: it is here, but another Lifemask prepared it, and no head can be made from it.
    """

    name: str
    label: str = ""
    kind: str = FACE_MODEL
    installed: bool = True
    licence: str = ""
    sentence: str = ""
    commercial: bool = False
    size: int = 0
    sha256: str = ""
    source: str = ""
    fetchable: bool = False
    outdated: bool = False

    @property
    def why_outdated(self) -> str:
        """Why it cannot be used, and what to do, in a sentence; empty where it is not outdated."""
        if not self.outdated:
            return ""
        again = "Download it again" if self.fetchable else "Add its file again"
        return f"{self.label} was prepared by another version of Lifemask. {again} in the preferences."

    @property
    def licence_in_words(self) -> str:
        """The sentence, or the name of the licence where there is none."""
        return self.sentence or (f"Licence: {self.licence}." if self.licence else "Its licence is not known.")

    @property
    def address(self) -> str:
        """The page in `source`, or empty."""
        found = ADDRESS.search(self.source)
        return found.group().rstrip(".,;)") if found else ""

    @property
    def is_built_in(self) -> bool:
        """Whether it comes with Lifemask and cannot be removed."""
        return self.name == OPEN_HEAD


THE_OPEN_HEAD = Asset(
    OPEN_HEAD,
    "Open Head",
    licence="CC0-1.0",
    sentence="Free for any use, selling the head included (CC0).",
    commercial=True,
)


def asset_from(entry: object, name: str = "") -> Asset | None:
    """What a record or a message says of an asset; None for what is none.

    Args:
        entry: a JSON object. What it leaves out, or has in another form, has its default.
        name: where the entry has none.
    """
    if not isinstance(entry, Mapping):
        return None
    text = {key: entry[key] for key in ("name", "label", "kind", "licence", "sentence", "sha256", "source")
            if isinstance(entry.get(key), str) and entry[key]}  # fmt: skip
    text.setdefault("name", name)
    if not text["name"]:
        return None
    text.setdefault("label", text["name"])
    size = entry.get("size")
    return Asset(
        **text,
        installed=entry.get("installed") is not False,
        commercial=entry.get("commercial") is True,
        size=size if isinstance(size, int) and size > 0 else 0,
        fetchable=entry.get("fetchable") is True,
        outdated=entry.get("outdated") is True,
    )


def assets_from(entries: object) -> tuple[Asset, ...]:
    """All assets of a list; what is none is left out."""
    found = (asset_from(entry) for entry in (entries if isinstance(entries, Sequence) else ()))
    return tuple(asset for asset in found if asset is not None)


def installed_in(folder: Path) -> tuple[Asset, ...]:
    """The face models that are installed in Lifemask's folder, the open head first. Reads a few small files."""
    return models_among(tuple(_records(folder)))


def models_among(assets: Sequence[Asset]) -> tuple[Asset, ...]:
    """The installed face models of a list, each once, the open head first, whether it is in the list or not."""
    models = {OPEN_HEAD: THE_OPEN_HEAD}
    models |= {asset.name: asset for asset in assets if asset.kind == FACE_MODEL and asset.installed}
    first, *others = models.values()
    return (first, *sorted(others, key=lambda model: model.label.lower()))


def named(name: str, models: Sequence[Asset]) -> Asset | None:
    """The asset of that name, or None."""
    return next((model for model in models if model.name == name), None)


def why_not(name: str, models: Sequence[Asset], for_sale: bool, others: Sequence[Asset] = ()) -> str:
    """Why a head cannot be made from a face model, in a sentence; "" where it can.

    Args:
        name: of the face model.
        models: those that are installed.
        for_sale: the person sells what they make.
        others: what else is known of, for the label.
    """
    model = named(name, models)
    if model is None:
        label = absent.label if (absent := named(name, others)) else name
        return f"The face model {label} is not installed here. Add it in the preferences, or choose another one."
    if model.outdated:
        return model.why_outdated
    if for_sale and not model.commercial:
        return (
            f"Heads made from {model.label} may not be sold, and the preferences say that your work is. Choose "
            "another face model."
        )
    return ""


def _records(folder: Path) -> list[Asset]:
    found = []
    try:
        paths = sorted(folder.glob(RECORDS))
    except OSError:
        return []
    for path in paths:
        if path.parent.name.startswith(".") or not path.with_name(PREPARED).is_file():
            continue  # half made, or half removed
        try:
            record = json.loads(path.read_text("utf-8"))
            asset = asset_from(record, path.parent.name)
        except (OSError, ValueError) as error:
            log.info("%s cannot be read: %s", path, error)
            continue
        if asset is not None:
            found.append(replace(asset, outdated=record.get("preparation", PREPARATION) != PREPARATION))
    return found
