"""Records a run's params, metrics, pictures and models in MLflow, unless tracking is off."""
