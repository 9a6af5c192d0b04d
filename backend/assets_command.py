"""`python3 -m backend assets`: face models and the detector's file, listed, added, downloaded and removed.

Standard library only until a face model is read.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

from . import asset_store, start
from .asset_catalogue import FACE_MODEL, known
from .asset_store import Asset
from .environment import Progress

Logged = Callable[[str], contextlib.AbstractContextManager]
"""As `cli.logged`."""

SHA256_SHOWN = 12


def add_assets_parser(commands: argparse._SubParsersAction) -> None:
    assets = commands.add_parser(
        "assets", help="face models: list, add, download, remove them, and their licences", allow_abbrev=False
    )
    what = assets.add_subparsers(dest="what", metavar="WHAT", required=True)
    listed = what.add_parser("list", help="what is here and what could be, with licences", allow_abbrev=False)
    listed.add_argument("--json", action="store_true", help="for programs, with the full checksums")
    add = what.add_parser("add", help="add a face model from its owner's file or folder", allow_abbrev=False)
    add.add_argument("file", type=Path, metavar="FILE")
    fetch = what.add_parser("fetch", help="download what anyone may download", allow_abbrev=False)
    fetch.add_argument("name", metavar="NAME")
    fetch.add_argument("--yes", action="store_true", help="agree to the download beforehand")
    remove = what.add_parser("remove", help="remove what was added or downloaded", allow_abbrev=False)
    remove.add_argument("name", metavar="NAME")


def run(chosen: argparse.Namespace, arguments: list[str], logged: Logged) -> int:
    """Runs `assets WHAT`. Returns the exit code.

    Args:
        chosen: as parsed.
        arguments: the same as given, for another interpreter.
        logged: sends what libraries say to a log file.
    """
    return COMMANDS[chosen.what](chosen, arguments, logged)


def table(assets: list[Asset]) -> str:
    """The assets for a person: three lines each, four where one is outdated."""
    lines = []
    for asset in assets:
        here = _state(asset)
        sold = "yes" if asset.commercial else "no"
        size = "-" if asset.size is None else f"{asset.size / 1e6:.1f} MB"
        checksum = f"SHA-256 {asset.sha256[:SHA256_SHOWN]}" if asset.sha256 else "SHA-256 -"
        kind = "face model" if asset.kind == FACE_MODEL else "detector"
        lines += [
            f"{asset.name:<16} {here:<18} {size:>9}  {checksum:<20}  may results be sold? {sold}",
            f"    {asset.label}, {kind}, licence {asset.licence}. {asset.sentence}",
            f"    {asset.source}",
        ]
        if asset.outdated:
            lines.append(f"    No head can be made from it: {asset_store.is_outdated(asset).sentence}")
    return "\n".join(lines)


def _state(asset: Asset) -> str:
    if asset.installed:
        return "outdated" if asset.outdated else "here"
    return "can be downloaded" if asset.fetchable else "not added"


def _list(chosen: argparse.Namespace, arguments: list[str], logged: Logged) -> int:
    assets = asset_store.assets()
    if chosen.json:
        print(json.dumps({"assets": [asset.as_json() for asset in assets]}, indent=2, ensure_ascii=False))
    else:
        print(table(assets))
    return 0


def _add(chosen: argparse.Namespace, arguments: list[str], logged: Logged) -> int:
    asset_store.check_file(chosen.file)
    start.inside("runtime", "backend", arguments)
    with logged("assets"), _terminal() as tell:
        asset = asset_store.add(chosen.file, tell)
    _say_added(asset)
    return 0


def _fetch(chosen: argparse.Namespace, arguments: list[str], logged: Logged) -> int:
    asset_store.to_fetch(chosen.name)
    entry = known(chosen.name)
    if not (chosen.yes or _asked(asset_store.consent(entry))):
        raise asset_store.nobody_agreed(entry)
    if entry.kind == FACE_MODEL:  # to prepare it takes packages
        start.inside("runtime", "backend", [*arguments, *([] if chosen.yes else ["--yes"])])
    with logged("assets"), _terminal() as tell:
        asset = asset_store.fetch(chosen.name, agreed=True, progress=tell)
    _say_added(asset)
    return 0


def _remove(chosen: argparse.Namespace, arguments: list[str], logged: Logged) -> int:
    asset_store.remove(chosen.name)
    print(f"{chosen.name} is removed.")
    return 0


COMMANDS = {"list": _list, "add": _add, "fetch": _fetch, "remove": _remove}


def _say_added(asset: Asset) -> None:
    print(table([asset]))
    if asset.kind == FACE_MODEL:
        print(f"Make a head with it: python3 -m backend reconstruct PHOTO --output DIR --face-model {asset.name}")


def _asked(sentence: str) -> bool:
    """Whether somebody at the terminal agrees; nobody does where there is none."""
    if not sys.stdin.isatty():
        return False
    print(sentence, file=sys.stderr)
    with contextlib.suppress(EOFError):  # Ctrl-D
        return input("Download it? [y/N] ").strip().lower() in ("y", "yes")
    return False


@contextlib.contextmanager
def _terminal():
    """Yields a progress callback of the store that shows one changing line, or a line a stage."""
    terminal = start.TerminalProgress()

    def tell(stage: str, share: float, detail: str) -> None:
        terminal(Progress("assets", stage, share, package=detail if terminal.changing and detail else None))

    try:
        yield tell
    finally:
        terminal.close()
