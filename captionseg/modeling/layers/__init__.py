"""What segmentation models are made of. Nothing here knows a loss, a device or a data set."""
