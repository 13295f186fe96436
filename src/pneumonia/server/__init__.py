"""The REST server and its page in the browser: `pneumonia serve`.

Begin with `app.create_app`, which puts our routes and middleware around MLflow's scoring server.
`routes` has the paths, `predict` processes images, `openapi` describes the bodies, `errors` and
`limits` refuse requests, `observability` writes logs and metrics, and `static/` is the page. This
room may import from inference and the rooms below it.
"""
