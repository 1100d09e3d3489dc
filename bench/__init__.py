"""Throughput, compared in one run: figures of one machine mean little alone, their ratios more."""
