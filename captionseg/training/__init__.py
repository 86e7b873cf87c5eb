"""Training: the data of a step, the one fit loop."""
