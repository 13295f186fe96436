"""Our own routes; MLflow adds the routes /invocations, /ping, /health and /version."""

from __future__ import annotations

from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from pneumonia.inference.predictor import NOTICE
from pneumonia.server import openapi
from pneumonia.server.errors import RequestError
from pneumonia.server.invocations import media_type
from pneumonia.server.limits import Limits
from pneumonia.server.observability import Metrics
from pneumonia.server.predict import FORM, PredictionService, Upload, read_form

STATIC = Path(str(resources.files("pneumonia.server") / "static"))
CARD = "/model/card"
# The card is a separate page that contains its own styles and no scripts.
CARD_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"


def create_router(service: PredictionService, limits: Limits, metrics: Metrics) -> APIRouter:
    """Make all routes for one model."""
    router = APIRouter()
    model = service.model
    samples = {sample.name: sample for sample in model.samples}

    @router.post(
        "/predict",
        summary="Predict images",
        responses={
            200: {"model": openapi.PredictResponse},
            **openapi.error_responses(400, 413, 415, 422, 429, 503),
        },
        openapi_extra={"requestBody": openapi.PREDICT_BODY},
    )
    async def predict(
        request: Request,
        layers: Annotated[
            bool, Query(description="add the image as the model received it, and the map alone")
        ] = False,
    ) -> Response:
        """Send images in the form field `files`, or one image as the body. Each image gets a label,
        a calibrated probability and a heat map.

        If an image of a form cannot be read, its `error` has the reason, and the other images are
        predicted. If the body is one image that cannot be read, the status is 422.
        """
        # Any image type is accepted here, because only the content is decisive.
        kind = media_type(request.scope, (FORM, *openapi.RAW), family="image/")
        body = await request.body()
        if kind == FORM:
            uploads = read_form(body, request.headers["content-type"], limits)
        else:
            uploads = [Upload(None, body)]
        response = await service.predict(uploads, layers)
        if kind != FORM and (error := response["predictions"][0]["error"]):
            raise RequestError(422, error["code"], "body", error["message"])
        return Response(orjson.dumps(response), media_type="application/json")

    @router.get("/model", summary="The model and where it comes from")
    async def model_record() -> openapi.ModelRecord:
        """The name, version, hashes, threshold, metrics with intervals, data and training."""
        record, point = model.record, asdict(model.predictor.point)
        hashes = {"graph_sha256": model.predictor.graph.sha256}
        return openapi.ModelRecord(
            name=model.name,
            version=model.version,
            source=model.source,
            hashes=hashes | record.get("hashes", {}),
            threshold=point.pop("threshold"),
            calibration=point,
            card=CARD if model.card else None,
            notice=NOTICE,
            **{part: record.get(part, {}) for part in ("metrics", "data", "training")},
        )

    @router.get(
        CARD, summary="The model card", response_class=HTMLResponse,
        responses=openapi.error_responses(404),
    )  # fmt: skip
    async def card() -> HTMLResponse:
        """The model card as an HTML page."""
        if not model.card:
            raise _not_found("this model was registered without a model card")
        return HTMLResponse(model.card, headers={"Content-Security-Policy": CARD_POLICY})

    @router.get("/samples/", summary="Drawn images to try")
    async def sample_list() -> list[openapi.SampleRecord]:
        """The list of the drawings; they are computed and show no patient."""
        return [
            openapi.SampleRecord(name=Path(name).stem, label=sample.label, url=f"/samples/{name}")
            for name, sample in samples.items()
        ]

    @router.get(
        "/samples/{name}", summary="One drawn image", response_class=Response,
        responses={200: {"content": {"image/png": {}}}, **openapi.error_responses(404)},
    )  # fmt: skip
    async def sample(name: str) -> Response:
        """The drawing as a PNG."""
        if name not in samples:
            raise _not_found("see /samples/ for the list")
        return Response(samples[name].payload, media_type="image/png")

    @router.get(
        "/metrics", summary="Metrics for Prometheus", response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )  # fmt: skip
    async def metrics_text() -> Response:
        """The metrics in Prometheus' text format."""
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @router.get("/", include_in_schema=False)
    async def page() -> Response:
        """The page for people."""
        return FileResponse(STATIC / "index.html")

    return router


def _not_found(message: str) -> RequestError:
    return RequestError(404, "not_found", "path", message)
