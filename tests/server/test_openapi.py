"""Responses to requests generated from the OpenAPI description agree with it."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

load_all_checks()
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def ask(operation: Any, mode: schemathesis.GenerationMode, count: int) -> bool:
    """Make requests of one operation; whether any could be made."""
    # MLflow calls a line break JSON, and its version.
    checks = CHECKS[:2] if operation.path in ("/ping", "/health", "/version") else CHECKS

    @settings(max_examples=count, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def one(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=checks)

    try:
        one()
    except Unsatisfiable:
        # Nothing about a request without parameters can be wrong.
        assert mode is schemathesis.GenerationMode.NEGATIVE
        return False
    return True


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_responses_agree_with_the_description(
    app: FastAPI, count: int, mode: schemathesis.GenerationMode
) -> None:
    described = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [found.ok() for found in described.get_all_operations()]
    tried = {one.label for one in operations if ask(one, mode, count)}
    assert {"POST /predict", "POST /invocations"} <= tried
