"""The whole system on one machine, without containers: an embedded Redis, the four services, and who watches them."""
