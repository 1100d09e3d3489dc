"""What a process tells of itself while it works: metrics that are read when somebody asks, and spans of a sample."""
