"""The REST server and its page in the browser: `pneumonia serve`.

Begin with `app.create_app`, which puts our routes and middleware around MLflow's scoring server.
`routes` has the paths, `predict` what happens to an image, `openapi` the bodies, `errors` and
`limits` what is refused, `observability` logs and metrics, `static/` the page. May import from
inference and the rooms below it.
"""
