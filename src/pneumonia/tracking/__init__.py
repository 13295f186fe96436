"""What MLflow knows: runs, the films, the registered model and which version is champion."""
