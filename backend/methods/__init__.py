"""One file for each paper: its network put together, its parameter split, and what it says of a photograph."""
