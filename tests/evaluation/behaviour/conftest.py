"""The images of the checks, fewer of them."""

from __future__ import annotations

import pytest

from pneumonia.evaluation.behaviour import BehaviourImages, draw_images

PATIENTS = 12


@pytest.fixture(scope="session")
def images() -> BehaviourImages:
    """At the shipped size, as smaller ones are not blurred by what blurs these mildly."""
    return draw_images(224, PATIENTS)
