"""What the routes answer, for the OpenAPI description."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from pneumonia.serving.forms import FIELD, FORM

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
