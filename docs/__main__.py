"""Generates configuration.md and metrics.md: `make docs`."""

import asyncio

from docs import configuration, metrics

configuration.PAGE.write_text(configuration.page())
metrics.PAGE.write_text(asyncio.run(metrics.page()))
