"""Photographs become heads: detection, fitting, texture, and the result folder. Knows nothing of Blender's modules."""
