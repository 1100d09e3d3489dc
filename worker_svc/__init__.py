"""The miner: gets random bytes from rng and their digests from hasher, counts them, and reports to Redis."""
