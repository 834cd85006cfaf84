"""What every result is written with: when, of which commit, and on what it was measured."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any


def stamp(device: str = "cpu") -> dict[str, Any]:
    """``{"date", "commit", "machine"}`` of this moment, for a result measured on ``device``."""
    machine = {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version()}
    if device.startswith("cuda"):
        import torch

        machine["gpu"] = torch.cuda.get_device_name(device)
    # The load of one minute, since machines are shared: near 0 on an idle one, at its cores on a busy one.
    machine["load"] = round(os.getloadavg()[0], 1)
    return {"date": time.strftime("%Y-%m-%d"), "commit": _commit(), "machine": machine}


def _commit() -> str | None:
    """None where the tree is not a repository, as on a machine that got a copy of it."""
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else os.environ.get("SLM_EVAL_COMMIT")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.processor()
