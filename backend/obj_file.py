"""The neutral head as OBJ and MTL, without Blender."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from backend.licences import combined
from backend.result_folder import HeadResult

LASH_COLOUR = (0.11, 0.09, 0.08)  # sRGB; lashes have no picture in the texture
PLAIN_COLOURS = {
    "skin": (0.70, 0.55, 0.47),
    "mouth_inside": (0.54, 0.29, 0.27),
    "eyeball": (0.80, 0.77, 0.75),
    "teeth": (0.81, 0.77, 0.69),
    "tongue": (0.62, 0.37, 0.35),
}
AXES = "+Y up, +Z out of the face, +X to the subject's left"


def write_obj(result: HeadResult, path: Path, texture: str | None) -> None:
    """Write `path` and the MTL beside it: metres, +Y up, +Z out of the face, one material a part, smooth normals.

    Args:
        result: its neutral is written; OBJ has no shape keys.
        path: of the .obj file.
        texture: file name of the albedo beside the OBJ, or None to use plain colours.

    Raises OSError when the files cannot be written.
    """
    materials = path.with_suffix(".mtl")
    normals = vertex_normals(result.vertices, result.faces)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"# Lifemask, {result.face_model.name}, {result.face_model.licence}. Metres, +Y up, +Z front.\n")
        file.write(f"mtllib {materials.name}\no Head\n")
        file.writelines(f"v {x:.7f} {y:.7f} {z:.7f}\n" for x, y, z in result.vertices.tolist())
        file.writelines(f"vt {u:.7f} {v:.7f}\n" for u, v in result.uv.tolist())
        file.writelines(f"vn {x:.5f} {y:.5f} {z:.5f}\n" for x, y, z in normals.tolist())
        file.write("s 1\n")
        for part, (start, end) in zip(result.part_names, result.part_faces.tolist(), strict=True):
            file.write(f"usemtl {part}\n")
            corners = zip(result.faces[start:end].tolist(), result.face_uv[start:end].tolist(), strict=True)
            for vertices, uvs in corners:
                text = (f"{v + 1}/{t + 1}/{v + 1}" for v, t in zip(vertices, uvs, strict=True) if v >= 0)
                file.write(f"f {' '.join(text)}\n")
    with materials.open("w", encoding="utf-8", newline="\n") as file:
        for part in result.part_names:
            file.write(f"newmtl {part}\n")
            if part == "lashes":
                file.write("Kd {} {} {}\n".format(*LASH_COLOUR))
            elif texture:
                file.write(f"Kd 1 1 1\nmap_Kd {texture}\n")
            else:
                colour = PLAIN_COLOURS.get(part) or PLAIN_COLOURS.get(part.split("_")[0], (0.7, 0.7, 0.7))
                file.write("Kd {} {} {}\n".format(*colour))
            file.write("Ks 0.04 0.04 0.04\nNs 60\nd 1\nillum 2\n\n")


def write_obj_note(result: HeadResult, obj: Path) -> None:
    """Write the JSON file beside an OBJ that says what OBJ cannot, with the fields of the other exports' files.

    Raises OSError.
    """
    credit = result.face_model
    may_be_sold, sentence = credit.commercial, credit.sentence
    if result.licences and not (together := combined(result.licences)).commercial:
        may_be_sold, sentence = False, together.sentence
    note = {
        "file": obj.name,
        "preset": "obj",
        "written_by": {"lifemask": result.software.get("lifemask", "")},
        "units": "metres",
        "axes": AXES,
        "shape": "neutral, eyes open, mouth shut",
        "keys": [],
        "displacement": "off",
        "face_model": credit.name,
        "licence": credit.licence,
        "licence_in_words": sentence,
        "may_be_used_commercially": may_be_sold,
        "licences": [each.as_json() for each in result.licences],
    }
    text = json.dumps(note, indent=2, ensure_ascii=False)
    obj.with_name(f"{obj.name}.json").write_text(text + "\n", encoding="utf-8")


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals, area weighted.

    Args:
        vertices: (V, 3) metres. faces: (F, 4) int, -1 in the last column of a triangle.

    Returns:
        (V, 3) float64; (0, 0, 1) at a vertex without a face.
    """
    third = np.where(faces[:, 3] >= 0, faces[:, 3], faces[:, 2])
    points = vertices.astype(np.float64)
    # The cross product of the diagonals is twice the area vector, for a quad as for a triangle (its side counts once).
    first = points[faces[:, 2]] - points[faces[:, 0]]
    second = points[third] - points[faces[:, 1]]
    area = np.cross(first, second)
    normals = np.zeros_like(points)
    for column in range(4):
        used = faces[:, column] >= 0
        np.add.at(normals, faces[used, column], area[used])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0, normals / np.where(length > 0, length, 1), [0.0, 0.0, 1.0])
