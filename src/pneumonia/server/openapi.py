"""What the routes answer, for the OpenAPI description.

The OpenAPI description, with MLflow's routes in it, and a page of it without any script.
"""

from __future__ import annotations

import json
from html import escape
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from pneumonia.inference.predictor import NOTICE
from pneumonia.server.forms import FIELD, FORM

if TYPE_CHECKING:
    from fastapi import FastAPI


Label = Literal["NORMAL", "PNEUMONIA"]
RAW = ("image/jpeg", "image/png", "application/dicom", "application/octet-stream")


class Problem(BaseModel):
    """Why a request was refused."""

    code: str = Field(description="for programs")
    field: str = Field(description="what to change: a header, a parameter, a field, or body")
    message: str = Field(description="for people, one line that names the mend")


class Refused(BaseModel):
    """The body of every error."""

    error: Problem


class Doubt(BaseModel):
    """A warning about an image."""

    code: str
    message: str


class HeatMap(BaseModel):
    """The class activation map as it left the graph."""

    grid: list[list[float]] = Field(description="rows from the top, not negative, in logits")
    scale: float = Field(description="value drawn as the hottest colour, the same for every image")


class Answer(BaseModel):
    """What is told about one image: either `error` is null, or all that follows from it is."""

    file: str | None = Field(description="the name that was sent with the image")
    label: Label | None
    probability: float | None = Field(description="of pneumonia, calibrated", ge=0, le=1)
    threshold: float | None = Field(description="at or above it the label is PNEUMONIA")
    milliseconds: float | None = Field(description="from reading the image to its answer")
    warnings: list[Doubt] | None
    heat_map_png: str | None = Field(description="the map laid over the image, PNG in base64")
    heat_map: HeatMap | None
    image_png: str | None = Field(None, description="what the model saw; with layers=true")
    heat_layer_png: str | None = Field(
        None, description="the map alone, with transparency; with layers=true"
    )
    error: Doubt | None = Field(description="why this image has no answer")


class ModelName(BaseModel):
    """Which model answered."""

    name: str
    version: str
    sha256: str = Field(description="of the graph")


class Answers(BaseModel):
    """The answers to one request, in the order of its images."""

    model: ModelName
    notice: str
    predictions: list[Answer]


class ModelRecord(BaseModel):
    """What the model is and where it comes from; null where it was registered without."""

    name: str
    version: str
    source: str = Field(description="the training: scratch or transfer")
    hashes: dict[str, str]
    threshold: float
    calibration: dict[str, float]
    metrics: dict[str, dict[str, dict[str, float | None]]] = Field(
        description="by split and metric: value, low and high of the 95 % interval by patient"
    )
    data: dict[str, Any]
    training: dict[str, Any]
    card: str | None = Field(description="where the model card is")
    notice: str


class SampleRecord(BaseModel):
    """A drawn image to try."""

    name: str
    label: str = Field(description="NORMAL or PNEUMONIA")
    url: str


BINARY = {"type": "string", "format": "binary"}
PREDICT_BODY = {
    "required": True,
    "content": {
        FORM: {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "properties": {FIELD: {"type": "array", "items": BINARY, "minItems": 1}},
            }
        },
        **{kind: {"schema": BINARY} for kind in RAW},
    },
}
INVOCATIONS_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "oneOf": [
                    {"required": [key]}
                    for key in ("dataframe_records", "dataframe_split", "inputs", "instances")
                ],
            },
            "example": {"dataframe_records": [{"image": "iVBORw0KGgo..."}]},
        },
        "text/csv": {"schema": {"type": "string"}, "example": "image\niVBORw0KGgo...\n"},
    },
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for its description."""
    told = {
        400: "The body cannot be read.",
        404: "There is no such thing.",
        413: "Too many bytes or too many images.",
        415: "Another media type than those described.",
        422: "Readable, but not what is asked for.",
        429: "Too much in flight; see Retry-After.",
        503: "No answer in time; see Retry-After.",
    }
    return {one: {"model": Refused, "description": told[one]} for one in statuses}


# FastAPI's own pages load their scripts from elsewhere.
REPLACED = ("/docs", "/docs/oauth2-redirect", "/redoc")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem; border-top: 1px solid; padding-top: 1rem }
code, pre { font-family: ui-monospace, monospace; font-size: .9em }
pre { overflow-x: auto; padding: .75rem; border: 1px solid; border-radius: .25rem }
table { border-collapse: collapse } th, td { text-align: left; padding: .25rem 1rem .25rem 0 }
"""
MLFLOW = {
    ("/invocations", "post"): "Answer a table of images, as MLflow's clients send it",
    ("/ping", "get"): "Whether it is up",
    ("/health", "get"): "The same",
    ("/version", "get"): "MLflow's version",
}


def describe(app: FastAPI, title: str) -> None:
    """Give the application its description at /openapi.json and a page of it at /docs."""
    app.router.routes = [
        route for route in app.router.routes if getattr(route, "path", "") not in REPLACED
    ]
    app.title, app.version = title, _version()
    found: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not found:
            found.update(_openapi(app))
        return found

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(openapi()), headers={"Content-Security-Policy": POLICY})


def _version() -> str:
    try:
        return version("pneumonia")
    except PackageNotFoundError:  # within a registered model, which carries the code alone
        return "0"


def _openapi(app: FastAPI) -> dict[str, Any]:
    described = get_openapi(
        title=app.title, version=app.version, description=NOTICE, routes=app.routes
    )
    paths = described["paths"]
    for (path, method), summary in MLFLOW.items():
        paths[path][method] |= {"summary": summary, "description": ""}
    invocations = paths["/invocations"]["post"]
    invocations["requestBody"] = INVOCATIONS_BODY
    invocations["description"] = (
        "One column, `image`: the bytes of an image in base64. An image that cannot be read has its "
        "reason in `error`."
    )
    errors = paths["/predict"]["post"]["responses"]
    invocations["responses"] |= {status: told for status, told in errors.items() if status != "200"}
    return described


def page(described: dict[str, Any]) -> str:
    """The description as HTML, to be read without JavaScript."""
    info = described["info"]
    parts = [f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}</p>"]
    parts.append('<p>For programs: <a href="/openapi.json">/openapi.json</a> (OpenAPI).</p>')
    for path, methods in described["paths"].items():
        for method, told in methods.items():
            parts.append(_operation(path, method, told))
    parts.append("<h2>Schemas</h2>")
    for name, schema in described["components"]["schemas"].items():
        text = escape(json.dumps(schema, indent=2))
        parts.append(f'<h3 id="{escape(name)}">{escape(name)}</h3><pre>{text}</pre>')
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}: REST</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>"
    )


def _operation(path: str, method: str, told: dict[str, Any]) -> str:
    parts = [f"<h2><code>{method.upper()} {escape(path)}</code></h2>"]
    parts += [f"<p>{escape(told[key])}</p>" for key in ("summary", "description") if told.get(key)]
    for parameter in told.get("parameters", []):
        what = escape(parameter.get("description", ""))
        parts.append(f"<p><code>{escape(parameter['name'])}</code> ({parameter['in']}) {what}</p>")
    if "requestBody" in told:
        kinds = ", ".join(f"<code>{escape(kind)}</code>" for kind in told["requestBody"]["content"])
        parts.append(f"<p>Body: {kinds}</p>")
    rows = "".join(
        f'<tr><th scope="row">{escape(status)}</th><td>{escape(one["description"])}</td>'
        f"<td>{_schemas(one)}</td></tr>"
        for status, one in told["responses"].items()
    )
    return "".join(parts) + f"<table><tbody>{rows}</tbody></table>"


def _schemas(response: dict[str, Any]) -> str:
    names = [
        content["schema"]["$ref"].rpartition("/")[2]
        for content in response.get("content", {}).values()
        if "$ref" in content.get("schema", {})
    ]
    return ", ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in names)
