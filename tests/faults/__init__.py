"""Faults injected into real runs of a tiny pipeline: python -m tests.faults --help."""
