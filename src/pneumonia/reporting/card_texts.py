"""What the model card says that no figure decides."""

from __future__ import annotations

from typing import Any

LEAD = (
    "Sections after Mitchell et al. 2019; TRIPOD+AI items (Collins et al. 2024) where they apply. "
    "Figures in brackets are 95 % intervals by patient, as far as the source tells patients apart."
)
INTENDED = (
    "To show, teach and compare methods on frontal chest radiographs of the kind that the model "
    "was trained on: a pipeline with honest figures, not a product."
)
USES = {
    "users": "researchers, teachers and engineers who work on medical imaging",
    "in scope": "studies of methods with intervals; teaching; tests of software that serves models",
    "out of scope": "diagnosis, triage, second reading or any other part in anyone's care; adults, "
    "newborns and other hospitals; lateral images and other examinations; other lung disease, which "
    "the model can only call normal or pneumonia",
}
FACTORS = [
    "Age and sex are not in the data, nor are symptoms, device, hospital or view: performance by "
    "these is not known and cannot be examined. (TRIPOD+AI 14)",
    "What another machine, hospital or file changes in an image is simulated: exposure, blur, noise, "
    "JPEG, cropping and others at three strengths.",
]
EVALUATION = (
    "Validation chose threshold, calibration and the better of two models; the test images were "
    "scored once, after that. No patient id is in two splits. Both come from the same source as "
    "the training images: this is internal validation. (TRIPOD+AI 5a, 12a, 16, 20)"
)
TRAINING = (
    "Split by patient. Images become a grey square, padded and not squashed, so that the source "
    "file's shape tells less. An audit looks for leaks, copies and shortcuts before training. "
    "(TRIPOD+AI 5a, 7, 12a, 21)"
)
_KERMANY = (
    "Frontal chest radiographs of children of 1 to 5 years from routine care at one hospital, "
    "Guangzhou Women and Children's Medical Center; labels by two physicians, those of the "
    "official test set checked by a third (Kermany et al. 2018, Cell 172(5):1122)."
)
SOURCES = {
    "phantom": "Images drawn by the program. They show that the pipeline works, and nothing about "
    "patients.",
    "folder": "Images of the user's own folder, in the layout of the Kermany set. If they are that "
    f"set: {_KERMANY}",
    "kaggle": _KERMANY,
    "medmnist": "PneumoniaMNIST (Yang et al. 2023), the Kermany set cropped to squares. "
    f"{_KERMANY} No patient ids are published, so splits and intervals are by image.",
    "table": "Images of the user's own, with labels from the user's table.",
}
LICENCES = {
    "phantom": "none needed, the images are drawn",
    "folder": "the user's to know; of the Kermany set CC BY 4.0, doi 10.17632/rscbjbr9sj",
    "kaggle": "CC BY 4.0, doi 10.17632/rscbjbr9sj",
    "medmnist": "CC BY 4.0, doi 10.5281/zenodo.10519652 and doi 10.17632/rscbjbr9sj",
    "table": "the user's to know",
}
_CHILDREN = (
    "The images are of children who were ill. Kermany et al. report the approval of their "
    "institutional review board; the images carry no names, and no one is to be identified. "
    "(TRIPOD+AI 17)"
)
ETHICS = {
    "phantom": "No person's data are in the model's training, apart from what a backbone brings. "
    "(TRIPOD+AI 17)",
    "folder": f"If the images are the Kermany set: {_CHILDREN}",
    "kaggle": _CHILDREN,
    "medmnist": _CHILDREN,
    "table": "Approval and consent are the user's to obtain. Names and ids of DICOM headers are "
    "not kept. (TRIPOD+AI 17)",
}
RISKS = [
    "A missed pneumonia can cost a child's life; a false alarm costs antibiotics, radiation and "
    "days in hospital. Neither cost is known to the model unless the threshold's rule names them.",
    "A probability with a heat map invites more trust than it has earned: a map shows where a "
    "score came from, not that there is disease.",
]
CAVEATS = [
    "External validity is poor. A network at AUC .95 on the Kermany images fell to .54 on 383 "
    "children of the NIH set (Xin 2021). Assume the same of this model until it is measured. "
    "(TRIPOD+AI 26)",
    "Hold-outs of this kind saturate, and simple shortcuts come close to the models: read the AUC "
    "beside the probes below the figures.",
    "Before any use elsewhere: measure it on local images with local labels, choose the threshold "
    "and the calibration anew, and watch both over time. (TRIPOD+AI 27c)",
    "A file that is no radiograph gets an answer all the same: only broken or blank files are "
    "refused. (TRIPOD+AI 27a)",
]
TRIPOD = [
    ("3b", "target population, use, users", "Intended use"),
    ("5a", "data sources", "Evaluation data, Training data"),
    ("5b", "dates of the data", "missing: not published with the images"),
    ("6a, 6b", "setting, eligibility", "Training data; criteria missing beyond what is published"),
    ("7", "data preparation", "Training data, Model details (input)"),
    ("8a, 8b", "outcome, its assessors", "Evaluation data; no clinical reference standard"),
    ("10", "sample size", "what there is; the intervals say what it allows"),
    ("11", "missing data", "images that cannot be read stop the pipeline or are listed"),
    ("12a", "partition of the data", "Evaluation data, Training data"),
    ("12c", "model, training", "Model details"),
    ("12e", "measures of performance", "Metrics"),
    ("12f, 24", "updating, recalibration", "Calibration before and after"),
    ("12g, 22", "how predictions are made", "Model details; the graph is registered with the card"),
    ("13", "class imbalance", "Model details (training: balance)"),
    ("14", "fairness", "Factors; age and sex missing"),
    ("15", "output, threshold", "Model details, Metrics"),
    ("16", "training against evaluation data", "Evaluation data"),
    ("17", "ethical approval", "Ethical considerations"),
    ("18a, 18b, 19", "funding, interests, patients' part", "missing: not a clinical study"),
    ("18e, 18f", "data and code", "Model details, Evaluation data (licences)"),
    ("20, 21", "participants, events", "Evaluation data, Training data"),
    ("23a", "performance with intervals, subgroups", "Quantitative analyses, Subgroups"),
    ("23b", "heterogeneity between sites", "missing: one site; Robustness stands in for it"),
    ("25, 26", "interpretation, limits", "Caveats and recommendations"),
    ("27a, 27b, 27c", "poor input, users, next steps", "Intended use, Caveats and recommendations"),
]


def architecture(model: str, params: dict[str, Any]) -> str:
    """What the network is; `params` of its training."""
    head = "global average pooling and one dense unit"
    if model == "scratch":
        widths = ", ".join(str(width) for width in params["widths"])
        return f"residual network, channels {widths}, from random weights; {head}"
    tuned = params["fine_tune_blocks"] if params["epochs"] else 0
    blocks = f"up to {tuned} blocks fine-tuned" if tuned else "frozen"
    return f"{params['backbone']} from {params['weights']} weights, {blocks}; {head}"


def settings(params: dict[str, Any]) -> str:
    """How the network was trained, in a line."""
    names = ("seed", "epochs", "batch_size", "learning_rate", "weight_decay", "label_smoothing",
             "average", "balance", "precision")  # fmt: skip
    told = [f"{name.replace('_', ' ')} {params[name]}" for name in names if name in params]
    return ", ".join(told) + "; AdamW, cosine schedule, augmented images"


def weights_licence(model: str, params: dict[str, Any], source: str) -> str:
    """Under which licences the weights lie."""
    images = f"trained on images: {LICENCES[source]}"
    if model == "scratch" or params["weights"] == "random":
        return images
    if params["backbone"] == "EfficientNetLite0" and params["weights"] == "imagenet":
        return f"backbone: EfficientNet-Lite0, ImageNet weights, Apache-2.0; {images}"
    return f"backbone: that of its {params['weights']} weights; {images}"
