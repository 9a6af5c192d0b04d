"""Pictures to learn from: synthetic people whose every label is known, and folders of real photographs."""
