"""What the sidebar tab shows: a function a state. Drawing reads the session, the scene and the head; it does nothing."""
