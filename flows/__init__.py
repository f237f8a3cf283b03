"""When: stories over the stages of dvc.yaml. Settings stand in prefect.toml and .dvc/config, but for these two."""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
