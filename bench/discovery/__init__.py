"""How soon new replicas get work, what that costs, and what health has to do with it; all on one machine."""
