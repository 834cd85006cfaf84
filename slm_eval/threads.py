"""How threads of torch wait for each other, decided before torch is first imported."""

from __future__ import annotations

import os


def spin_briefly() -> None:
    """Leave the cores to the decoding processes while torch's threads wait for each other; a user's setting wins.

    OpenMP (libgomp) reads this once, when torch is first imported. By default threads spin for milliseconds: beside two
    busy processes on two cores that made DNSMOS up to three times slower. Not spinning at all costs a tenth on an idle
    machine. A clip of 30 s, fastest of 8, idle and beside two busy processes: default 0.32 and 0.91 s, not at all 0.36
    and 0.79 s, 20,000 turns 0.32 and 0.88 s.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
