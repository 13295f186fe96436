"""What MLflow knows: runs, the images, the registered model and which version is champion."""
