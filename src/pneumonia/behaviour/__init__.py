"""Checks of what a model does: invariance, direction, minimum function, on drawn images."""
