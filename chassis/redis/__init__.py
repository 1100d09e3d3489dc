"""Redis as worker and webui use it: how to reach it, its errors, and the keys that they share."""
