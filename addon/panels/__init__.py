"""What the sidebar tab shows: a function a state. Drawing reads session, scene and head, and changes nothing."""
