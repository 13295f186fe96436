"""The registered model on images in Spark, by MLflow's own `spark_udf`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pandas as pd
import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytest.importorskip("pyspark", reason="PySpark is not installed: make setup-scale")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(
        not (shutil.which("java") or "JAVA_HOME" in os.environ), reason="there is no Java"
    ),
]

ANSWER = "label string, probability double, threshold double, error string"


@pytest.fixture
def spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SparkSession]:
    """Spark in this process, with a worker of its own."""
    from pyspark.sql import SparkSession

    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    session = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.warehouse.dir", str(tmp_path))
        .getOrCreate()
    )
    yield session
    session.stop()


def test_spark_gives_the_model_s_predictions(
    spark: SparkSession, model_folder: Path, images: list[bytes]
) -> None:
    payloads = [*images, b"no image"]
    score = mlflow.pyfunc.spark_udf(
        spark, str(model_folder), result_type=ANSWER, env_manager="local"
    )
    table = spark.createDataFrame(list(enumerate(payloads)), "number int, image binary")
    answered = table.withColumn("answer", score("image")).select("number", "answer.*")
    rows = answered.toPandas().set_index("number").sort_index()
    model = mlflow.pyfunc.load_model(str(model_folder))
    expected = model.predict(pd.DataFrame({"image": payloads}))
    for column in ("label", "error"):
        # What is missing is a text on the way through MLflow's function.
        assert rows[column].tolist() == expected[column].map(str).tolist()
    for column in ("probability", "threshold"):
        found = rows[column].astype(float)
        assert found.tolist()[:-1] == expected[column].tolist()[:-1]
        assert found.isna().tolist() == [False] * len(images) + [True]
    assert rows["error"][len(images)].startswith("the file is no image")
