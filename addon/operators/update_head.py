"""The photographs of a head that is in the file are looked at again, and the head gets the new figures."""

from __future__ import annotations

from pathlib import Path

import bpy

from .. import face_models, head_record, properties
from ..session import Request, session
from .reconstruct import can_start, ended, options_of


class LIFEMASK_OT_update_head(bpy.types.Operator):
    """Make this head anew from its photographs; name, place, materials, modifiers and keys of your own stay"""

    bl_idname = "lifemask.update_head"
    bl_label = "Update from Photographs"
    bl_options = {"REGISTER"}

    use_list: bpy.props.BoolProperty(
        name="Photographs of the List",
        description="Take the photographs and options of the list instead of those that the head was made from",
        default=False,
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context):
        head = head_record.active_head(context)
        if head is None:
            cls.poll_message_set("Select a head that Lifemask made.")
            return False
        if head.library is not None or head.data.library is not None:
            cls.poll_message_set("This head is linked from another file. Update it there.")
            return False
        return can_start(cls)

    def execute(self, context):
        head = head_record.active_head(context)
        record = head_record.record_of(head)
        name = context.scene.lifemask.face_model_name if self.use_list else face_model_of(record)
        reason = face_models.why_not(name, session.face_models, session.settings.for_sale)
        if reason:
            self.report({"ERROR"}, reason)
            return {"CANCELLED"}
        if self.use_list:
            photographs = properties.chosen_photographs(context.scene)
            if not photographs:
                self.report({"ERROR"}, "There are no photographs in the list.")
                return {"CANCELLED"}
            request = Request(
                photographs=tuple(photographs),
                options=options_of(context.scene),
                scene=context.scene.session_uid,
                head=record.id,
                head_uid=head.session_uid,
            )
        else:
            try:
                photographs = photographs_of(head, record, Path(bpy.app.tempdir))
            except OSError as error:
                session.report_error(error)
                self.report({"ERROR"}, session.error.sentence)
                return {"CANCELLED"}
            request = Request(
                photographs=tuple(photographs),
                options={**record.options, "face_model": name},
                scene=context.scene.session_uid,
                head=record.id,
                head_uid=head.session_uid,
                originals=tuple(Path(photograph.path) for photograph in record.photographs),
            )
        session.start_reconstruct(request)
        return ended(self)


def face_model_of(record: head_record.HeadRecord) -> str:
    """The name of the face model that a head is updated with."""
    return str(record.options.get("face_model") or record.face_model or face_models.OPEN_HEAD)


def photographs_of(
    head: bpy.types.Object, record: head_record.HeadRecord, folder: Path
) -> list[tuple[Path, int | None]]:
    """The photographs of a head: the files where they are, else copies of what is packed in the Blender file.

    Args:
        head: with a record.
        record: of the head.
        folder: where copies are written.
    """
    from .. import cameras, head_builder, pictures

    matched = cameras.cameras_of(head)
    found = []
    for number, photograph in enumerate(record.photographs):
        path = Path(bpy.path.abspath(photograph.path))
        if not path.is_file() and number in matched:
            background = head_builder.background_of(matched[number])
            stem = f"lifemask-{record.id}-{number + 1}"
            path = pictures.unpacked_copy(background, folder, stem) or path
        found.append((path, photograph.face))
    return found


def register() -> None:
    bpy.utils.register_class(LIFEMASK_OT_update_head)


def unregister() -> None:
    bpy.utils.unregister_class(LIFEMASK_OT_update_head)
