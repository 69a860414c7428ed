"""Imported by the server of worker processes before all else: it collects no garbage while it imports."""

import gc

gc.disable()  # until a worker is forked: `pipeline.startup.begin_worker`
