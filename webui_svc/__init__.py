"""The page: how fast the system mines, as it happens."""
