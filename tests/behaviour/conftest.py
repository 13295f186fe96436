"""The films of the checks, fewer of them."""

from __future__ import annotations

import pytest

from pneumonia.behaviour.films import Films, draw_films

PATIENTS = 12


@pytest.fixture(scope="session")
def films() -> Films:
    """At the shipped size, as smaller ones are not blurred by what blurs these mildly."""
    return draw_films(224, PATIENTS)
