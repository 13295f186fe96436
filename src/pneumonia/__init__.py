"""Pneumonia detection on chest X-rays: data, models, evaluation, explanation, serving."""
