"""A layout that draws nothing: it writes down what a panel asks for, and refuses what Blender does not know.

Blender itself only prints an unknown property, operator, menu, list or icon, and goes on. Here they raise.
"""

from __future__ import annotations

import bpy


class Recorder:
    """What was drawn: texts in order, operators with their properties, properties, bars, folded headings."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.operators: list[dict] = []
        self.properties: list[str] = []
        self.bars: list[list] = []
        self.lists: list[str] = []
        self.menus: list[str] = []
        self.pictures: list[int] = []

    def facts(self) -> dict:
        return dict(self.__dict__)


class OperatorProperties:
    """Takes values for an operator's button, known names only."""

    def __init__(self, kind: bpy.types.Struct, record: dict) -> None:
        self.__dict__.update(_kind=kind, _record=record)

    def __setattr__(self, name: str, value) -> None:
        known = self._kind.properties
        if name not in known:
            raise AttributeError(f"{self._kind.identifier} has no property {name}")
        if known[name].type == "ENUM" and value not in known[name].enum_items:
            raise TypeError(f"{value} is no choice of {self._kind.identifier}.{name}")
        self._record["properties"][name] = value


class RecordingLayout:
    """As much of bpy.types.UILayout as panels use. Sub-layouts write to the same record."""

    def __init__(self, record: Recorder | None = None, enabled: bool = True) -> None:
        self.record = record or Recorder()
        self.enabled = enabled

    def _inner(self, **_options) -> RecordingLayout:
        return RecordingLayout(self.record, self.enabled)

    def row(self, align=False, heading=""):
        return self._inner()

    def column(self, align=False, heading=""):
        return self._inner()

    def box(self):
        return self._inner()

    def split(self, factor=0.0, align=False):
        return self._inner()

    def grid_flow(self, row_major=False, columns=0, even_columns=False, even_rows=False, align=False):
        return self._inner()

    def panel(self, idname, default_closed=False):
        assert idname
        return self._inner(), self._inner()

    def separator(self, factor=1.0, type="AUTO"):  # noqa: A002 - Blender's own name
        pass

    def label(self, text="", icon="NONE", icon_value=0):
        _check_icon(icon)
        self._text(text)

    def progress(self, text="", factor=0.0, type="BAR"):  # noqa: A002 - Blender's own name
        self.record.bars.append([text, factor])
        self._text(text)

    def template_icon(self, icon_value=0, scale=1.0):
        self.record.pictures.append(icon_value)

    def template_list(self, listtype, list_id, data, collection, active_data, active_property, rows=5, maxrows=5):
        kind = getattr(bpy.types, listtype)
        for owner, name in ((data, collection), (active_data, active_property)):
            _property(owner, name)
        self.record.lists.append(listtype)
        for index, item in enumerate(getattr(data, collection)):
            row = self._inner()
            kind.draw_item(kind, bpy.context, row, data, item, 0, active_data, active_property, index)

    def menu(self, menu, text="", icon="NONE"):
        _check_icon(icon)
        getattr(bpy.types, menu)
        self.record.menus.append(menu)
        self._text(text)

    def popover(self, panel, text="", icon="NONE"):
        _check_icon(icon)
        getattr(bpy.types, panel)
        self.record.menus.append(panel)
        self._text(text)

    def operator(self, operator, text=None, icon="NONE", icon_value=0, emboss=True, depress=False):
        _check_icon(icon)
        kind = _operator_kind(operator)
        record = {"operator": operator, "text": kind.name if text is None else text, "properties": {}}
        record["enabled"] = self.enabled
        record["depress"] = depress
        self.record.operators.append(record)
        self._text(record["text"])
        return OperatorProperties(kind, record)

    def prop(self, data, name, text=None, icon="NONE", slider=False, toggle=-1, expand=False, emboss=True, **_options):
        _check_icon(icon)
        if name.startswith('["'):
            label = name[2:-2]
            data[label]  # KeyError where the object has no such custom property
        else:
            label = _property(data, name).name
        self.record.properties.append(f"{data.bl_rna.identifier}.{name}")
        self._text(label if text is None else text)

    def _text(self, text: str) -> None:
        if text:
            self.record.texts.append(text)

    def __setattr__(self, name: str, value) -> None:
        known = ("record", "enabled", "active", "alert", "alignment", "emboss", "operator_context")
        known += ("scale_x", "scale_y", "use_property_split", "use_property_decorate", "ui_units_x", "ui_units_y")
        if name not in known:
            raise AttributeError(f"a layout has no {name}")
        object.__setattr__(self, name, value)


def _operator_kind(name: str) -> bpy.types.Struct:
    module, function = name.split(".")
    return getattr(getattr(bpy.ops, module), function).get_rna_type()  # KeyError where there is none


def _property(data, name: str) -> bpy.types.Property:
    properties = data.bl_rna.properties
    if name not in properties:
        raise AttributeError(f"{data.bl_rna.identifier} has no property {name}")
    return properties[name]


def _check_icon(name: str) -> None:
    if name not in bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items:
        raise TypeError(f"Blender has no icon {name}")
