"""Measuring: each module prints one table of figures and says what it measured."""
