"""The streams to one service: which addresses there are, and which of them gets which batch."""
