"""A stand-in for the application: the same routes, with predictions that a test chooses."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from pneumonia.images.decoding import decode, encode_png
from pneumonia.images.limits import ImageError
from pneumonia.inference.overlay import colour, smooth
from pneumonia.inference.predictor import NOTICE
from tests.conftest import SIZE, some_image

STATIC = Path(str(resources.files("pneumonia.server") / "static"))
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
THRESHOLD = 0.4
GRID = np.zeros((4, 4), np.float32)
GRID[3, 0] = 2.0  # lower left
SCALE = 2.0
MODEL = {"name": "stand-in", "version": "7", "sha256": "0123456789abcdef" * 4}
# What a model says that was registered with all there is.
RECORD = {
    **MODEL, "threshold": THRESHOLD, "card": "/model/card", "notice": NOTICE,
    "hashes": {"graph_sha256": MODEL["sha256"]}, "data": {"digest": "fedcba9876543210" * 4},
    "metrics": {"test": {"auc": {"value": 0.98, "low": 0.95, "high": 0.99}}},
}  # fmt: skip


class StandIn(ThreadingHTTPServer):
    """The server.

    Attributes:
        probabilities: of images by their names; 0.9 of others.
        warnings: of images by their names.
        refusals: what the next requests get instead of answers: status, body, headers; status 0
            hangs up.
        most: images in a request; more get 413.
        requests: names of the images of each request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reset()

    def reset(self) -> None:
        """Forget the requests, and refuse nothing."""
        self.probabilities: dict[str, float] = {}
        self.warnings: dict[str, list[dict[str, str]]] = {}
        self.refusals: list[tuple[int, bytes, dict[str, str]]] = []
        self.most = 32
        self.requests: list[list[str]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def answer(self, name: str, payload: bytes) -> dict[str, Any]:
        """One row of the response of /predict."""
        row: dict[str, Any] = {"file": name, "label": None, "probability": None, "error": None}
        try:
            image = decode(payload, SIZE).pixels
        except ImageError:
            return row | {
                "error": {"code": "not_an_image", "message": "not an image: send another"}
            }
        heat = np.clip(smooth(GRID, SIZE) / SCALE, 0, 1)
        alpha = (255 * heat[..., None]).round().astype(np.uint8)
        layer = np.concatenate([colour(heat), alpha], axis=-1)
        probability = self.probabilities.get(name, 0.9)
        return row | {
            "label": "PNEUMONIA" if probability >= THRESHOLD else "NORMAL",
            "probability": probability,
            "threshold": THRESHOLD,
            "milliseconds": 3.2,
            "warnings": self.warnings.get(name, []),
            "heat_map_png": "",
            "heat_map": {"grid": GRID.tolist(), "scale": SCALE},
            "image_png": base64.b64encode(encode_png(image)).decode(),
            "heat_layer_png": base64.b64encode(encode_png(layer)).decode(),
        }


class Handler(BaseHTTPRequestHandler):
    """The routes that the page uses."""

    server: StandIn

    def do_GET(self) -> None:
        if self.path == "/model":
            self._send(200, json.dumps(RECORD).encode())
        elif self.path == "/samples/":
            samples = [{"name": "normal-1", "label": "NORMAL", "url": "/samples/normal-1.png"}]
            self._send(200, json.dumps(samples).encode())
        elif self.path == "/samples/normal-1.png":
            self._send(200, some_image(1), {"Content-Type": "image/jpeg"})
        else:
            name = "index.html" if self.path == "/" else self.path.removeprefix("/static/")
            file = STATIC / name
            kind = KINDS.get(file.suffix, "image/svg+xml")
            headers = {"Content-Type": kind, "Content-Security-Policy": POLICY}
            self._send(200, file.read_bytes(), headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        form = BytesParser(policy=HTTP).parsebytes(kind + body)
        images = [
            (str(part.get_filename()), part.get_payload(decode=True)) for part in form.iter_parts()
        ]
        self.server.requests.append([name for name, _ in images])
        if self.server.refusals:
            status, told, headers = self.server.refusals.pop(0)
            if status:
                self._send(status, told, headers)
            else:
                self.close_connection = True
        elif len(images) > self.server.most:
            self._send(*refusal(413, "too many images: send fewer"))
        else:
            rows = [self.server.answer(name, payload) for name, payload in images]
            self._send(
                200, json.dumps({"model": MODEL, "notice": NOTICE, "predictions": rows}).encode()
            )

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        given = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}
        for name, value in (given | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def refusal(status: int, message: str, retry: str = "") -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of a refused request."""
    body = json.dumps({"error": {"code": "refused", "field": "files", "message": message}}).encode()
    return status, body, {"Retry-After": retry} if retry else {}


@contextmanager
def standing_in() -> Iterator[StandIn]:
    """The server, running."""
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
