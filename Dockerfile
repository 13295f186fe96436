# The champion and its server. `make image` first puts the model with its code into build/model.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS environment
COPY requirements-serve.txt .
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-serve.txt \
    && /opt/venv/bin/pip uninstall --yes --quiet pip setuptools
COPY build/model /opt/model
RUN python -m compileall -q /opt/model/code

FROM ${PYTHON}
ARG NAME=pneumonia-chest-xray
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title=${NAME} \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${REVISION} \
      org.opencontainers.image.licenses=MIT
COPY --from=environment /opt/venv /opt/venv
COPY --from=environment /opt/model /opt/model
# The server runs the code registered with the model, so that it decodes images as in its evaluation.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/model/code \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    MLFLOW_DISABLE_TELEMETRY=true \
    ORT_DISABLE_TELEMETRY=1
# Start once: a model that cannot be served fails here. This also compiles the standard library, whose
# bytecode the official image lacks and a read-only container cannot write.
RUN python -c "import uvicorn; from pneumonia.server.app import create_app; create_app('/opt/model')"
ENV PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --no-create-home --uid 10001 model
USER 10001
WORKDIR /tmp
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/ping', timeout=2)"]
CMD ["python", "-m", "pneumonia", "serve", "--model", "/opt/model", "--host", "0.0.0.0", "--port", "8080"]
