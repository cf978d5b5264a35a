"""What a run records while it trains: metrics, TensorBoard, trackers, progress and sample grids."""
