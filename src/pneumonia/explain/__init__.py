"""Activation maps: overlays, and scores against known masks."""
