"""What a run records while it trains: metrics, TensorBoard, other trackers, the progress line and sample grids."""
