"""The application's own routes; /invocations, /ping, /health and /version are MLflow's."""

from __future__ import annotations

from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from pneumonia.inference.bundle import ModelBundle
from pneumonia.inference.predictor import NOTICE
from pneumonia.server import openapi
from pneumonia.server.errors import RequestError
from pneumonia.server.forms import FORM, Upload, read_form
from pneumonia.server.invocations import media_type
from pneumonia.server.limits import Limits
from pneumonia.server.observability import Metrics
from pneumonia.server.predict import Answering

STATIC = Path(str(resources.files("pneumonia.server") / "static"))
CARD = "/model/card"
# The card is a page of its own, with its style in it and without scripts.
CARD_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"


def router(answering: Answering, limits: Limits, metrics: Metrics) -> APIRouter:
    """All of them, for one model."""
    found = APIRouter()
    model = answering.model
    samples = {sample.name: sample for sample in model.samples}

    @found.post(
        "/predict",
        summary="Answer images",
        responses={
            200: {"model": openapi.Answers},
            **openapi.refusals(400, 413, 415, 422, 429, 503),
        },
        openapi_extra={"requestBody": openapi.PREDICT_BODY},
    )
    async def predict(
        request: Request,
        layers: Annotated[
            bool, Query(description="add the image as the model saw it, and the map alone")
        ] = False,
    ) -> Response:
        """Images in a form's field `files`, or one image as the body; label, calibrated probability
        and heat map for each.

        An image that cannot be read has its reason in `error` and sinks no other; sent alone as the
        body, it is refused with 422.
        """
        # Any picture: the bytes decide.
        kind = media_type(request.scope, (FORM, *openapi.RAW), family="image/")
        body = await request.body()
        if kind == FORM:
            uploads = read_form(body, request.headers["content-type"], limits)
        else:
            uploads = [Upload(None, body)]
        answer = await answering.answer(uploads, layers)
        if kind != FORM and (error := answer["predictions"][0]["error"]):
            raise RequestError(422, error["code"], "body", error["message"])
        return _json(answer)

    @found.get("/model", summary="The model and where it comes from")
    async def model_record() -> openapi.ModelRecord:
        """Name, version, hashes, threshold, metrics with intervals, data, training."""
        return record(model)

    @found.get(
        CARD, summary="The model card", response_class=HTMLResponse, responses=openapi.refusals(404)
    )
    async def card() -> HTMLResponse:
        """As a page."""
        if not model.card:
            raise _missing("this model was registered without a model card")
        return HTMLResponse(model.card, headers={"Content-Security-Policy": CARD_POLICY})

    @found.get("/samples/", summary="Drawn images to try")
    async def sample_list() -> list[openapi.SampleRecord]:
        """Computed, not photographed: no patient is on them."""
        return [
            openapi.SampleRecord(
                name=sample.name.removesuffix(".png"), label=sample.label,
                url=f"/samples/{sample.name}",
            )
            for sample in model.samples
        ]  # fmt: skip

    @found.get(
        "/samples/{name}", summary="One of them", response_class=Response,
        responses={200: {"content": {"image/png": {}}}, **openapi.refusals(404)},
    )  # fmt: skip
    async def sample(name: str) -> Response:
        """A PNG."""
        if name not in samples:
            raise _missing("see /samples/ for those that there are")
        return Response(samples[name].payload, media_type="image/png")

    @found.get(
        "/metrics", summary="Counts for Prometheus", response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )  # fmt: skip
    async def metrics_text() -> Response:
        """In Prometheus' text format."""
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @found.get("/", include_in_schema=False)
    async def page() -> Response:
        """The page for people."""
        index = STATIC / "index.html"
        if not index.is_file():
            raise _missing("see /docs for what there is")
        return FileResponse(index)

    return found


def record(model: ModelBundle) -> openapi.ModelRecord:
    """What is known of a model."""
    known, point = model.record, asdict(model.predictor.point)
    hashes = {"graph_sha256": model.predictor.graph.sha256}
    return openapi.ModelRecord(
        name=model.name,
        version=model.version,
        source=model.source,
        hashes=hashes | known.get("hashes", {}),
        threshold=point.pop("threshold"),
        calibration=point,
        metrics=known.get("metrics", {}),
        data=known.get("data", {}),
        training=known.get("training", {}),
        card=CARD if model.card else None,
        notice=NOTICE,
    )


def _missing(mend: str) -> RequestError:
    return RequestError(404, "not_found", "path", mend)


def _json(answer: dict[str, Any]) -> Response:
    return Response(orjson.dumps(answer), media_type="application/json")
