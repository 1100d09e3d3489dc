"""The load test: measures the pipeline that mines, at many batch sizes, and says what they do to speed and latency."""
