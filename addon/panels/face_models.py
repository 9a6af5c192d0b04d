"""In the preferences: every face model and detector there is, what may be done with it, and how to get it."""

from __future__ import annotations

import bpy

from .. import face_models, paragraphs
from ..operators.face_models import ask_soon
from ..session import BUSY, session
from .parts import megabytes, progress_bar, quiet_label

KINDS = ("add", "fetch", "remove")
"""Jobs whose progress and errors belong here."""

NAME_SHARE, SOLD_SHARE, SIZE_SHARE = 0.38, 0.32, 0.3
"""Of a line: the name, of what is left the second column, of what is left then the third."""

INDENT_POINTS = 60
"""What the boxes that Blender draws around an add-on's preferences take off the width, and ours."""

NOT_SET_UP = "Lifemask is not set up yet: see its tab in the sidebar of the 3D view. Others can be added afterwards."
NO_MODELS_BUT_OURS = "A file or a folder that you have from its owner is added with Add."


def draw(layout: bpy.types.UILayout, context: bpy.types.Context, details: str) -> None:
    """The whole section. `details` is the name of the asset whose details are shown, or empty."""
    ask_soon()
    width = paragraphs.width_of(context) - INDENT_POINTS
    layout.separator()
    heading = layout.row()
    heading.label(text="Face Models")
    buttons = heading.row(align=True)
    buttons.alignment = "RIGHT"
    if session.is_set_up:
        buttons.operator("lifemask.add_face_model", text="Add…", icon="ADD")
        buttons.operator("lifemask.refresh_face_models", text="", icon="FILE_REFRESH")
    else:
        paragraphs.draw(layout, NOT_SET_UP, width, "INFO")
    _draw_state(layout, width)
    box = layout.box()
    _draw_columns(box)
    assets = session.assets if session.assets is not None else session.face_models
    models = [asset for asset in assets if asset.kind == face_models.FACE_MODEL]
    if face_models.named(face_models.OPEN_HEAD, models) is None:
        models.insert(0, face_models.THE_OPEN_HEAD)
    for asset in models:
        _draw_asset(box, asset, details, width)
    others = [asset for asset in assets if asset.kind != face_models.FACE_MODEL]
    if others:
        layout.label(text="Landmark Detectors")
        box = layout.box()
        for asset in others:
            _draw_asset(box, asset, details, width)
    if session.is_set_up:
        quiet_label(layout, NO_MODELS_BUT_OURS)


def _draw_state(layout: bpy.types.UILayout, width: float) -> None:
    """What is going on, what went wrong, or what was done."""
    if session.work is not None and session.work.kind in KINDS:
        row = layout.row()
        bar = row.column()
        stage = "Stopping" if session.work.cancelling else session.work.stage
        progress_bar(bar, session.work.share, stage[:1].upper() + stage[1:])
        row.operator("lifemask.cancel", text="", icon="X")
        if session.work.detail:
            quiet_label(layout, session.work.detail, "BLANK1")
    elif session.state in BUSY:
        quiet_label(layout, "Lifemask is at work. Wait until it is done.", "INFO")
    elif session.error is not None and session.kind in KINDS:
        buttons = _draw_failure(layout, session.error, width)
        buttons.operator("lifemask.retry", text="Try Again", icon="FILE_REFRESH")
        buttons.operator("lifemask.dismiss", text="Close", icon="X")
    elif session.asset_failure is not None:
        _draw_failure(layout, session.asset_failure, width)
    elif session.is_listing and session.assets is None:
        quiet_label(layout, "Asking what can be installed", "SORTTIME")
    elif session.news:
        paragraphs.draw(layout, session.news, width, "CHECKMARK")


def _draw_failure(layout: bpy.types.UILayout, failure, width: float) -> bpy.types.UILayout:
    """The sentence and the log. Returns the row of buttons."""
    box = layout.box()
    paragraphs.draw(box, failure.sentence, width - paragraphs.BOX_POINTS, "ERROR", alert=True)
    row = box.row(align=True)
    row.alignment = "LEFT"
    if failure.log:
        row.operator("lifemask.open_log", text="Open the Log", icon="TEXT").filepath = str(failure.log)
    return row


def _draw_columns(box: bpy.types.UILayout) -> None:
    name, sold, size, _ = _columns(box)
    for column, text in ((name, "Name"), (sold, "May results be sold?"), (size, "Size")):
        column.active = False
        column.label(text=text)


def _draw_asset(box: bpy.types.UILayout, asset: face_models.Asset, details: str, width: float) -> None:
    name, sold, size, buttons = _columns(box)
    name.active = asset.installed
    icon = "ERROR" if asset.outdated else "CHECKMARK" if asset.installed else "BLANK1"
    name.label(text=asset.label, icon=icon)
    sold.alert = not asset.commercial
    sold.label(text="Yes" if asset.commercial else "No")
    size.label(text=megabytes(asset.size) if asset.size else "")
    _draw_buttons(buttons, asset, is_open=details == asset.name)
    if asset.outdated:
        paragraphs.draw(box.column(), asset.why_outdated, width, "BLANK1", alert=True)
    quiet = box.column()
    quiet.active = False
    paragraphs.draw(quiet, asset.licence_in_words, width, "BLANK1")
    if details == asset.name:
        for line in details_of(asset):
            paragraphs.draw(quiet, line, width, "BLANK1")


def _draw_buttons(row: bpy.types.UILayout, asset: face_models.Asset, is_open: bool) -> None:
    """How to get it or to get rid of it, and what else there is to know."""
    if asset.is_built_in:
        built_in = row.row()
        built_in.active = False
        built_in.alignment = "RIGHT"
        built_in.label(text="Built in")
        row.separator()
    elif asset.installed and not (asset.outdated and asset.fetchable):
        row.operator("lifemask.remove_face_model", text="Remove", icon="TRASH").asset = asset.name
    elif asset.fetchable:
        row.operator("lifemask.download_face_model", text="Download", icon="IMPORT").asset = asset.name
    elif asset.address:
        row.operator("lifemask.open_owners_page", text="Owner's Page", icon="URL").asset = asset.name
    about = row.operator("lifemask.face_model_details", text="", icon="INFO", depress=is_open)
    about.asset = asset.name


def details_of(asset: face_models.Asset) -> list[str]:
    """What is not in the line, in lines: licence, source, checksum."""
    lines = [f"Licence: {asset.licence}" if asset.licence else "", f"From: {asset.source}" if asset.source else ""]
    lines.append(f"SHA-256: {asset.sha256}" if asset.sha256 else "")
    return [line for line in lines if line]


def _columns(layout: bpy.types.UILayout) -> tuple[bpy.types.UILayout, ...]:
    """Four columns of a line: name, may be sold, size, buttons."""
    split = layout.split(factor=NAME_SHARE)
    name = split.row()
    split = split.split(factor=SOLD_SHARE)
    sold = split.row()
    split = split.split(factor=SIZE_SHARE)
    size = split.row()
    buttons = split.row(align=True)
    buttons.alignment = "RIGHT"
    return name, sold, size, buttons
