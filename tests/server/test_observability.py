"""Logs are JSON lines, without anything that was sent."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from starlette.testclient import TestClient

from pneumonia.server.observability import JsonFormatter, logging_config
from tests.server.test_errors import BAD, SECRET


def test_an_exception_is_logged_by_type_and_location_only() -> None:
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        given = (type(error), error, error.__traceback__)
    record = logging.LogRecord("a", logging.ERROR, "", 0, "failed:\n%s", ("x",), given)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    told = json.loads(line)
    assert told["message"] == "failed:\nx"
    assert told["level"] == "error"
    assert told["exception"] == "ValueError"
    assert told["at"][0].startswith("test_observability.py:")
    assert SECRET not in line


def test_a_request_is_one_line_without_what_was_sent(
    client: TestClient, caplog: pytest.LogCaptureFixture, images: list[bytes]
) -> None:
    caplog.set_level(logging.DEBUG)
    for logger in ("pneumonia", "mlflow", "uvicorn"):
        caplog.set_level(logging.DEBUG, logger)
    for path, body, headers, *_ in BAD.values():
        client.post(path, content=body, headers={**headers, "X-Request-ID": SECRET})
    body = {"dataframe_records": [{"image": SECRET}], "params": {SECRET: SECRET}}
    client.post("/invocations", json=body)
    client.post(f"/predict?a={SECRET}", files={"files": (SECRET, images[0])})
    ours = [one for one in caplog.records if one.name != "httpx2"]
    lines = [JsonFormatter().format(record) for record in ours]
    access = [json.loads(line) for line in lines if '"pneumonia.access"' in line]
    assert len(access) == len(BAD) + 2
    assert access[-1]["route"] == "/predict"
    assert access[-1]["status"] == 200
    assert access[-1]["milliseconds"] > 0
    assert not [line for line in lines if SECRET in line]


def test_the_form_parser_s_warnings_which_quote_headers_are_not_logged() -> None:
    loggers: Any = logging_config()["loggers"]
    assert loggers["python_multipart"] == {"level": "ERROR"}
