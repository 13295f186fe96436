"""The OpenAPI description at /openapi.json: the bodies of requests and responses."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from pneumonia.inference.predictor import NOTICE
from pneumonia.server.predict import FIELD, FORM

if TYPE_CHECKING:
    from fastapi import FastAPI


Label = Literal["NORMAL", "PNEUMONIA"]
RAW = ("image/jpeg", "image/png", "application/dicom", "application/octet-stream")


class ErrorDetail(BaseModel):
    """The reason why a request was refused."""

    code: str = Field(description="for programs")
    field: str = Field(description="what to change: a header, a parameter, a field, or body")
    message: str = Field(description="for people, one line that names the remedy")


class ErrorBody(BaseModel):
    """The body of every error."""

    error: ErrorDetail


class ImageMessage(BaseModel):
    """A warning about an image, or the reason why it has no prediction."""

    code: str = Field(description="for programs")
    message: str = Field(description="for people")


class HeatMap(BaseModel):
    """The class activation map, an output of the graph."""

    grid: list[list[float]] = Field(description="rows from the top, not negative, in logits")
    scale: float = Field(description="value drawn as the hottest colour, the same for every image")


class ImagePrediction(BaseModel):
    """The prediction for one image; after an error, only `file` and `error` are not null."""

    file: str | None = Field(description="the name that was sent with the image")
    label: Label | None
    probability: float | None = Field(description="of pneumonia, calibrated", ge=0, le=1)
    threshold: float | None = Field(description="probability from which the label is PNEUMONIA")
    milliseconds: float | None = Field(description="from receiving the image to its prediction")
    warnings: list[ImageMessage] | None
    heat_map_png: str | None = Field(description="the map drawn over the image, PNG in base64")
    heat_map: HeatMap | None
    image_png: str | None = Field(
        None, description="the image as the model received it; with layers=true"
    )
    heat_layer_png: str | None = Field(
        None, description="the map alone, with transparency; with layers=true"
    )
    error: ImageMessage | None = Field(description="why this image has no prediction")


class ServedModel(BaseModel):
    """The model that made the predictions."""

    name: str
    version: str
    sha256: str = Field(description="of the graph")


class PredictResponse(BaseModel):
    """The predictions for one request, in the order of its images."""

    model: ServedModel
    notice: str
    predictions: list[ImagePrediction]


class ModelRecord(BaseModel):
    """The model and its origin; a field is null or empty if the registry has no value for it."""

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
    card: str | None = Field(description="path of the model card")
    notice: str


class SampleRecord(BaseModel):
    """A computed drawing to try the model on."""

    name: str
    label: str = Field(description="NORMAL or PNEUMONIA")
    url: str


BINARY = {"type": "string", "format": "binary"}
FILES = {"type": "array", "items": BINARY, "minItems": 1}
PREDICT_FORM = {"type": "object", "required": [FIELD], "properties": {FIELD: FILES}}
PREDICT_BODY = {
    "required": True,
    "content": {
        FORM: {"schema": PREDICT_FORM},
        **{kind: {"schema": BINARY} for kind in RAW},
    },
}
JSON_KEYS = ("dataframe_records", "dataframe_split", "inputs", "instances")
INVOCATIONS_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "object", "oneOf": [{"required": [key]} for key in JSON_KEYS]},
            "example": {"dataframe_records": [{"image": "iVBORw0KGgo..."}]},
        },
        "text/csv": {"schema": {"type": "string"}, "example": "image\niVBORw0KGgo...\n"},
    },
}
ERRORS = {
    400: "The body cannot be read.",
    404: "Not found.",
    413: "Too many bytes or too many images.",
    415: "The media type is not one of those above.",
    422: "The body can be read, but does not have what is required.",
    429: "Too many requests or bytes in progress; see Retry-After.",
    503: "No response in time, or the server is stopping; see Retry-After.",
}
# Summaries of the routes that MLflow adds.
MLFLOW_SUMMARIES = {
    ("/invocations", "post"): "Predict a table of images, as MLflow's clients send it",
    ("/ping", "get"): "Whether the server is ready",
    ("/health", "get"): "The same as /ping",
    ("/version", "get"): "MLflow's version",
}
# FastAPI's own pages load their scripts from another server.
REMOVED = ("/docs", "/docs/oauth2-redirect", "/redoc")


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, for its OpenAPI description."""
    return {status: {"model": ErrorBody, "description": ERRORS[status]} for status in statuses}


def describe(app: FastAPI) -> None:
    """Give the application its description at /openapi.json; call this after all routes exist."""
    routes = app.router.routes
    routes[:] = [route for route in routes if getattr(route, "path", "") not in REMOVED]
    app.title, app.description = "Pneumonia on chest X-rays", NOTICE
    try:
        app.version = version("pneumonia")
    except PackageNotFoundError:  # a registered model contains only the code
        app.version = "0"
    # FastAPI keeps the result of this call, and later serves it.
    paths = app.openapi()["paths"]
    for (path, method), summary in MLFLOW_SUMMARIES.items():
        paths[path][method] |= {"summary": summary, "description": ""}
    invocations = paths["/invocations"]["post"]
    invocations["requestBody"] = INVOCATIONS_BODY
    invocations["description"] = (
        "One column, `image`: the bytes of an image in base64. The row of an image that cannot be "
        "read has the reason in `error`."
    )
    errors = dict(paths["/predict"]["post"]["responses"])
    del errors["200"]
    invocations["responses"] |= errors
