"""Print the test metrics of both models and the next steps; `make repro` runs this script last.

It is not a stage. It uses only the standard library, so `make repro` is quick if nothing changed.
"""

import json
from pathlib import Path

REPORTS = ("visualize/index.html", "register/evaluation.html", "register/gradcam.html")
METRICS = ("auc", "accuracy", "sensitivity", "specificity", "brier")


def main() -> None:
    """Print the table of metrics and the next steps."""
    metrics = json.loads(Path("reports/evaluate/metrics.json").read_text(encoding="utf-8"))
    points = json.loads(Path("reports/evaluate/operating_point.json").read_text(encoding="utf-8"))
    print("\ntest images, 95 % intervals by patient")
    print(f"{'':10}" + "".join(f"{name:>24}" for name in METRICS))
    for model, splits in metrics.items():
        test = splits["test"]
        cells = (
            f"{test[name]:.3f} [{test[f'{name}_low']:.3f}, {test[f'{name}_high']:.3f}]"
            for name in METRICS
        )
        print(f"{model:10}" + "".join(f"{cell:>24}" for cell in cells))
    print(f"\nbetter on validation: {points['better']}\n")
    print("next  make ui       compare the runs in MLflow")
    print("      make serve    serve the champion over REST")
    for report in REPORTS:
        print(f"      reports/{report}")


if __name__ == "__main__":
    main()
