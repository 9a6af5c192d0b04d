"""Runs: the folder of one, its checkpoints, its randomness, its records, and Lightning's loop around it."""
