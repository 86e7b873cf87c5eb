"""Where a run's params, metrics, pictures and models go besides files: MLflow, or nowhere."""
