# The champion behind MLflow's scoring server: `make image` puts it into build/model first.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS environment
COPY requirements-serve.txt .
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-serve.txt

FROM ${PYTHON}
COPY --from=environment /opt/venv /opt/venv
COPY build/model /opt/model
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true
RUN useradd --system --no-create-home model
USER model
WORKDIR /tmp
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/ping', timeout=2)"]
CMD ["mlflow", "models", "serve", "--model-uri", "/opt/model", "--env-manager", "local", "--host", "0.0.0.0", "--port", "8080"]
