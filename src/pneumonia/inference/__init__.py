"""From an image to a prediction, shared by scoring, the server and the evaluation.

Begin with `bundle.load_model`, which loads a model from the registry, a folder or a training, and
`predictor.Predictor`, which runs its graph. `operating_point` is calibration and threshold,
`plausibility` and `warnings` look for reasons to doubt a prediction, `overlay` draws heat maps, and
`pyfunc` is the model as MLflow logs it. May import from tracking, stats, images and core.
"""
