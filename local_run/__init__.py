"""The whole system on one machine without containers: Redis, the four services, and a manager of their processes."""
