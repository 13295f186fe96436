"""The OpenAPI description, with MLflow's routes in it, and a page of it without any script."""

from __future__ import annotations

import json
from html import escape
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse

from pneumonia.predictor import NOTICE
from pneumonia.serving import schemas

if TYPE_CHECKING:
    from fastapi import FastAPI

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
    invocations["requestBody"] = schemas.INVOCATIONS_BODY
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
