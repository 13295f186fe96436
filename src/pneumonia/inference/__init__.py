"""From an image to a prediction, shared by scoring, the server and the evaluation.

Begin with `bundle.load_model`, which loads a model from the registry, a folder or a training.
`predictor.Predictor` runs the graph. `operating_point` holds calibration and threshold. `warnings`
and `plausibility` look for reasons to doubt a prediction. `overlay` draws heat maps. `pyfunc` is
the model as MLflow logs it. This room may import from tracking, stats, images and core.
"""
