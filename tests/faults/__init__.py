"""Faults put on purpose into real runs of a tiny pipeline: python -m tests.faults --help."""
