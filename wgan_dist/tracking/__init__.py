"""The records of a run while it trains: metrics, TensorBoard, other trackers, the progress line and sample grids."""
