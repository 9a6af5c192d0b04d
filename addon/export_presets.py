"""What an export can be asked for: presets for the programs that heads go to, and the choices a person has.

No bpy here: the panel, the command line and the scripts that write Blender files share these.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass

FORMATS = ("blend", "fbx", "obj", "glb", "usd")
KEYS = ("all", "used", "none")
PARTS = ("joined", "separate")
DISPLACEMENT = ("off", "applied")
SMALLEST_TEXTURE, LARGEST_TEXTURE = 16, 16384

IN_METRES_Y_UP = "+Y up, +Z out of the face, +X to the subject's left"
IN_METRES_Z_UP = "+Z up, -Y out of the face, +X to the subject's left"
FOR_UNREAL = "+Z up, +X out of the face, +Y to the subject's left (Unreal's importer mirrors Y)"


class ExportOptionsError(ValueError):
    """Export options that make no sense; the text is a sentence for a person."""


@dataclass(frozen=True)
class Preset:
    """How a head is written for one program.

    Attributes:
        name: what scripts and the command line call it.
        label: what the file browser calls it.
        description: one or two sentences for a person.
        format: one of `FORMATS`.
        units: the length that 1 in the file stands for: "metres" or "centimetres".
        axes: the file's axes in words.
        keys: which shape keys are in the file when nothing else is asked for; "none" also where the format has none.
        can_hold_keys: False for OBJ, and where the target wants one still shape.
        turn_degrees: how far the head is turned about its own vertical before it is written, counter-clockwise from
            above; 0 leaves it facing -Y in Blender's axes.
        smoothing_groups: FBX only: faces say that they are smooth, for importers that compute normals themselves.
        file_for_each_key: OBJ only: one more file a key.
        as_it_stands: keep pose, modifiers, drivers and cameras instead of writing the bare neutral.
        groups: new names of the parts' vertex groups: part, or the start of its name -> name in the target program.
        without_parts: parts, or the starts of their names, that are left out.
        asks_for: parts, or words of their names, that the target program works with, and what they are called.
        without_them: what that means where a head lacks some, for a sentence that has named them.
        warning: what was not tried, for the documentation and the sidecar file.
    """

    name: str
    label: str
    description: str
    format: str
    units: str = "metres"
    axes: str = IN_METRES_Y_UP
    keys: str = "all"
    can_hold_keys: bool = True
    turn_degrees: float = 0.0
    smoothing_groups: bool = False
    file_for_each_key: bool = False
    as_it_stands: bool = False
    groups: tuple[tuple[str, str], ...] = ()
    without_parts: tuple[str, ...] = ()
    asks_for: tuple[tuple[str, str], ...] = ()
    without_them: str = ""
    warning: str = ""

    def lacks(self, parts: Iterable[str]) -> list[str]:
        """What the target program works with and a head of these parts has not, in words."""
        there = [f"_{part}_" for part in parts]
        return [words for wanted, words in self.asks_for if not any(f"_{wanted}_" in part for part in there)]

    @property
    def suffix(self) -> str:
        """The end of the file's name, with its dot."""
        return f".{self.format}"


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("fbx", "FBX", "For most programs: metres, Y up, every ARKit shape key, the texture inside.", "fbx"),
        Preset(
            "unreal",
            "FBX for Unreal",
            "Centimetres, Z up, facing +X: arrives in its true size, facing forward, with no rotation or scale. Keep "
            "Convert Scene on and Force Front X Axis off, and import it as a skeletal mesh with morph targets.",
            "fbx",
            units="centimetres",
            axes=FOR_UNREAL,
            turn_degrees=90.0,
            smoothing_groups=True,
            warning="Not tried in Unreal itself: units and axes follow the documentation of its importer.",
        ),
        Preset(
            "unity",
            "FBX for Unity",
            "Metres, Y up, facing Unity's forward axis, no rotation or scale, with the smoothing that Unity needs to "
            "compute the normals of blend shapes.",
            "fbx",
            smoothing_groups=True,
            warning="Not tried in Unity itself: units and axes follow its documentation.",
        ),
        Preset("glb", "GLB (glTF)", "One file with morph targets by name and the texture inside.", "glb"),
        Preset("obj", "OBJ, neutral", "The neutral face with its texture. OBJ has no shape keys.", "obj",
               keys="none", can_hold_keys=False),
        Preset(
            "obj-keys",
            "OBJ, one file a key",
            "The neutral with its texture, and one more OBJ for each shape key with the same vertex order.",
            "obj",
            file_for_each_key=True,
        ),
        Preset("usd", "USD", "One file with blend shapes, the texture beside it.", "usd", axes=IN_METRES_Z_UP),
        Preset(
            "blend",
            "Blender file",
            "A file of its own with the head as it stands: shape keys, drivers, materials, cameras, pictures packed.",
            "blend",
            axes=IN_METRES_Z_UP,
            as_it_stands=True,
        ),
        Preset(
            "metahuman",
            "FBX for Mesh to MetaHuman",
            "The neutral in centimetres with eyes open and the whites of the eyes in the texture; no shape keys, and "
            "no lashes, teeth or tongue, which would be in the way of the tracking.",
            "fbx",
            units="centimetres",
            axes=FOR_UNREAL,
            keys="none",
            can_hold_keys=False,
            turn_degrees=90.0,
            smoothing_groups=True,
            without_parts=("lashes", "teeth", "tongue", "gums"),
            asks_for=(("eyeball", "eyeballs"),),
            without_them="The eyes are part of its skin, which may be tracked less well.",
            warning="Not tried in Unreal itself: it follows what Epic's page on Mesh to MetaHuman asks for.",
        ),
        Preset(
            "faceit",
            "Blender file for Faceit",
            "The neutral at the centre, facing -Y, without modifiers or animation, its parts in the vertex groups "
            "that Faceit looks for. The ARKit keys stay, for Faceit's motion capture; choose no keys to rig it anew.",
            "blend",
            axes=IN_METRES_Z_UP,
            groups=(
                ("skin", "faceit_main"),
                ("eyeball_left", "faceit_left_eyeball"),
                ("eyeball_right", "faceit_right_eyeball"),
                ("teeth_upper", "faceit_upper_teeth"),
                ("teeth_lower", "faceit_lower_teeth"),
                ("tongue", "faceit_tongue"),
                ("lashes", "faceit_eyelashes"),
            ),
            asks_for=(
                ("eyeball_left", "left eyeball"),
                ("eyeball_right", "right eyeball"),
                ("teeth_upper", "separate upper teeth"),
                ("teeth_lower", "separate lower teeth"),
                ("tongue", "tongue"),
            ),
            without_them="Leave those out when you register the head, or register meshes of your own.",
            warning="Not tried with Faceit itself: it follows its documentation.",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class ExportOptions:
    """What a person may choose about an export.

    Attributes:
        preset: a name of `PRESETS`; "" for the plain preset of whatever format is written.
        keys: "all", "used" (those that a photograph, the present pose or the animation uses), "none", or "" for
            what the preset prefers.
        parts: "joined" in one object, or "separate", one object a part.
        texture_size: longest side of the pictures in the file, in pixels; 0 keeps them. They are never enlarged.
        displacement: "applied" moves the vertices of the written copy as the head's Subdivision, Multiresolution and
            Displace modifiers do, keys included; "off" leaves the mesh as it is. Without effect on a head without.
    """

    preset: str = ""
    keys: str = ""
    parts: str = "joined"
    texture_size: int = 0
    displacement: str = "off"

    def __post_init__(self) -> None:
        _among("export preset", self.preset, ("", *PRESETS))
        _among("choice of keys", self.keys, ("", *KEYS))
        _among("choice of parts", self.parts, PARTS)
        _among("choice of displacement", self.displacement, DISPLACEMENT)
        size = self.texture_size
        if isinstance(size, bool) or not isinstance(size, int):
            raise ExportOptionsError(f"The texture size of an export is a whole number of pixels, not {size!r}.")
        if size and not SMALLEST_TEXTURE <= size <= LARGEST_TEXTURE:
            raise ExportOptionsError(
                f"The texture size of an export is 0 (as it is) or {SMALLEST_TEXTURE} to {LARGEST_TEXTURE}, not {size}."
            )

    def preset_for(self, format_name: str) -> Preset:
        """The preset to write a format with: the one asked for where it writes that format, else the plain one."""
        asked = PRESETS.get(self.preset)
        return asked if asked and asked.format == format_name else PRESETS[format_name]

    def for_format(self, format_name: str) -> ExportOptions:
        """These options with the preset that `preset_for` chooses."""
        return dataclasses.replace(self, preset=self.preset_for(format_name).name)

    @property
    def is_plain(self) -> bool:
        """Whether the head is written as it stands, in Blender's own format, with nothing changed."""
        return dataclasses.replace(self, keys="") == ExportOptions("blend") and self.keys in ("", "all")

    def keys_of(self, preset: Preset) -> str:
        """Which keys an export with this preset holds: "all", "used" or "none"."""
        return (self.keys or preset.keys) if preset.can_hold_keys else "none"

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ExportOptions:
        """Options out of a JSON object; what is not named keeps its default.

        Raises ExportOptionsError when it is no such object or a value makes no sense.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ExportOptionsError(f"The export options are not JSON: {error}.") from None
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or not known >= set(values):
            raise ExportOptionsError(f"The export options are a JSON object with some of: {', '.join(sorted(known))}.")
        return cls(**values)


def _among(what: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        names = ", ".join(choice for choice in choices if choice)
        raise ExportOptionsError(f"There is no {what} called {value!r}. There are: {names}.")
