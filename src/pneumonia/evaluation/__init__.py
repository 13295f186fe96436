"""Metrics with intervals, calibration, the operating point, the choice between models."""
