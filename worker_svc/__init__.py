"""The miner: asks rng for random bytes, hasher for their digests, counts, and reports to Redis."""
