"""Twenty bugs. With each of them the code still runs, and its results look plausible.

They were written before the tests were searched for them, in the order of the pipeline: data,
training, evaluation, heat maps, registry, scoring and serving.
"""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        name="label-flip",
        file="src/pneumonia/datasets/sources/folder.py",
        old="for label, name in enumerate(LABELS):",
        new="for label, name in enumerate(LABELS[::-1]):",
        why="the class to detect is listed first, and the label is the position in the list",
        first=("tests/datasets/test_sources.py",),
    ),
    Mutant(
        name="split-by-image",
        file="src/pneumonia/datasets/prepare.py",
        old='return "val" if in_validation(image.patient_id, params',
        new='return "val" if in_validation(image.file, params',
        why="most tutorials split the files at random",
        first=("tests/datasets/test_splits.py", "tests/datasets/test_prepare.py"),
    ),
    Mutant(
        name="bgr-for-rgb",
        file="src/pneumonia/images/decoding.py",
        old='strip = _opaque(strip).convert("L")',
        new='red, green, blue = _opaque(strip).convert("RGB").split()\n'
        '            strip = Image.merge("RGB", (blue, green, red)).convert("L")',
        why="OpenCV reads BGR, and on a grey image in a colour file the order does not show",
        first=("tests/images/test_decoding.py", "tests/images/test_colour.py"),
    ),
    Mutant(
        name="monochrome1-not-inverted",
        file="src/pneumonia/images/dicom.py",
        old='if image.PhotometricInterpretation == "MONOCHROME1":',
        new='if image.PhotometricInterpretation == "MONOCHROME2":',
        why="MONOCHROME1 sounds like the usual one of the two",
        first=("tests/images/test_dicom_grey.py", "tests/images/test_dicom.py"),
    ),
    Mutant(
        name="validated-in-training-mode",
        file="src/pneumonia/models/loop.py",
        old="return model(images, training=False)",
        new="return model(images, training=True)",
        why="copied from the training step; batch norm then uses the statistics of the batch",
        first=("tests/models/test_loop.py",),
    ),
    Mutant(
        name="smoothing-upwards",
        file="src/pneumonia/models/loop.py",
        old="labels * (1 - smoothing) + 0.5 * smoothing",
        new="labels * (1 + smoothing) - 0.5 * smoothing",
        why="the signs are swapped; training works with labels below 0 and above 1, too",
        first=("tests/models/test_loop.py",),
    ),
    Mutant(
        name="off-by-one-epoch",
        file="src/pneumonia/models/loop.py",
        old="parts = stream(strategy, data, params, done, epochs)",
        new="parts = stream(strategy, data, params, max(done - 1, 0), epochs)",
        why="the history counts epochs from 1 and the stream from 0, so one is subtracted; a "
        "resumed training then sees the images of its last epoch again",
        first=("tests/models/test_loop.py",),
    ),
    Mutant(
        name="params-not-in-key",
        file="src/pneumonia/models/training.py",
        old="identity = with_augment(params, augment) | {",
        new="identity = {",
        why="the checkpoint belongs to its data, and that params matter, too, is forgotten",
        first=("tests/models/test_checkpoint.py", "tests/models/test_run_training.py"),
    ),
    Mutant(
        name="threshold-on-test",
        file="src/pneumonia/evaluation/robustness.py",
        old='is_val = (shifted.rows["split"] == "val").to_numpy()',
        new='is_val = (shifted.rows["split"] == "test").to_numpy()',
        why="the threshold looks best in the report if it is chosen on the images of the report",
        first=("tests/evaluation/test_robustness.py", "tests/evaluation/test_threshold.py"),
    ),
    Mutant(
        name="calibration-on-test",
        file="src/pneumonia/evaluation/evaluate.py",
        old="labels[is_val], logits[is_val], maps[is_val], pool,",
        new="labels, logits, maps, pool,",
        why="a fit to more images is more stable, and all images are available",
        first=("tests/evaluation/test_evaluate.py", "tests/stats/test_calibration.py"),
    ),
    Mutant(
        name="bootstrap-by-image",
        file="src/pneumonia/stats/bootstrap.py",
        old="names, patient_of_image = np.unique(patients, return_inverse=True)",
        new="names = patient_of_image = np.arange(len(labels))",
        why="the usual bootstrap draws rows; its intervals are narrower and look better",
        first=("tests/stats/test_metrics.py",),
    ),
    Mutant(
        name="delong-unpaired",
        file="src/pneumonia/stats/delong.py",
        old="error = standard_error(labels, twos - ones, patients)",
        new="error = math.hypot(*(standard_error(labels, of, patients) for of in (ones, twos)))",
        why="variances add up, but not for two models on the same images, which are correlated",
        first=("tests/stats/test_delong.py",),
    ),
    Mutant(
        name="statistics-of-all-images",
        file="stages/evaluate.py",
        old="load_images(DATA, train.head(plausibility.IMAGES))",
        new="load_images(DATA, table.head(plausibility.IMAGES))",
        why="a mean image needs no labels, so all images are used, the test images among them",
        first=("tests/pipeline/test_evaluate.py",),
    ),
    Mutant(
        name="heat-by-its-own-maximum",
        file="src/pneumonia/inference/overlay.py",
        old="heat = _levels(smooth(heat_map * np.float32(STEPS / scale), image.shape[0]))",
        new="heat = _levels(\n"
        "        smooth(heat_map * np.float32(STEPS / max(heat_map.max(), 1e-9)), image.shape[0])\n"
        "    )",
        why="most Grad-CAM examples do this; a map of no evidence then looks like a strong one",
        first=("tests/inference/test_overlay.py",),
    ),
    Mutant(
        name="mirror-kept",
        file="src/pneumonia/explain/gradcam.py",
        old="mirrored = explain(images[:, :, ::-1])[:, :, ::-1]",
        new="mirrored = explain(images[:, :, ::-1])",
        why="the image is mirrored, and mirroring its map back is forgotten",
        first=("tests/explain/test_gradcam.py",),
    ),
    Mutant(
        name="rollback-to-the-first",
        file="src/pneumonia/registry/champion.py",
        old='make_champion(client, name, previous[-1], "rollback")\n'
        '    return f"version {previous[-1]} of',
        new='make_champion(client, name, previous[0], "rollback")\n'
        '    return f"version {previous[0]} of',
        why="with two versions the first one is also the previous one",
        first=("tests/registry/test_promotion.py",),
    ),
    Mutant(
        name="margin-without-interval",
        file="src/pneumonia/evaluation/noninferiority.py",
        old="difference.low >= -params.margin",
        new="difference.difference >= -params.margin",
        why="the estimate is within the margin; with few images that proves nothing",
        first=("tests/evaluation/test_noninferiority.py", "tests/registry/test_promotion.py"),
    ),
    Mutant(
        name="unfinished-part-counts",
        file="src/pneumonia/scoring/output.py",
        old="_PART.fullmatch(name)",
        new="_PART.search(name)",
        why="a killed worker's temporary file contains the part's name; its images are lost",
        first=("tests/scoring/test_score.py",),
    ),
    Mutant(
        name="images-in-directory-order",
        file="src/pneumonia/scoring/images.py",
        old="names = pa.array(sorted(names), pa.large_string())",
        new="names = pa.array(list(names), pa.large_string())",
        why="a listing is often sorted by chance; otherwise parts of two runs mix their images",
        first=("tests/scoring/test_images.py", "tests/scoring/test_score.py"),
    ),
    Mutant(
        name="preprocessing-skew",
        file="src/pneumonia/inference/predictor.py",
        old="        decoded = decode(payload, self.graph.size, max_pixels)\n",
        new="        from dataclasses import replace\n\n"
        "        from PIL import Image\n\n"
        "        size = self.graph.size\n"
        "        large = decode(payload, 2 * size, max_pixels)\n"
        "        small = Image.fromarray(large.pixels).resize((size, size))\n"
        "        decoded = replace(large, pixels=np.asarray(small))\n",
        why="the page shows images larger, so the server decodes them larger and resizes them with "
        "the default filter of Pillow",
        first=("tests/server/test_app.py", "tests/inference/test_pyfunc.py"),
    ),
)
