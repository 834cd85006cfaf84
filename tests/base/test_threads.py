"""How torch's threads wait is decided before torch is imported."""

from __future__ import annotations

import subprocess
import sys


def test_torch_is_told_to_spin_briefly_before_it_is_imported() -> None:
    code = (
        "import os, sys; from slm_eval.metrics.registry import make_metric; assert 'torch' not in sys.modules; "
        "make_metric('dnsmos').observer.ready('cpu'); print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1000 True\n"
