"""Cameras, the z-buffer rasterizer, interpolation, shading, UV baking. `camera` needs numpy alone, the rest torch."""
