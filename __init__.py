"""The Blender extension: hands Blender's register and unregister calls to `addon/`.

Nothing is imported before Blender asks for it, so that the other packages can be used and tested without Blender.
"""


def register() -> None:
    from .addon import register as register_addon

    register_addon()


def unregister() -> None:
    from .addon import unregister as unregister_addon

    unregister_addon()
