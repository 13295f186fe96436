"""Pneumonia detection on chest X-rays: data, models, evaluation, explanation, serving."""

__version__ = "0.2.0"
