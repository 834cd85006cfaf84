"""How threads of torch wait for each other, decided before torch is first imported."""

from __future__ import annotations

import os


def spin_briefly() -> None:
    """Leave the cores to the decoding processes while torch's threads wait for each other; a user's setting wins.

    OpenMP (libgomp) reads this once, when torch is first imported. By default threads spin for milliseconds, and where
    there are more of them than free cores most of the time goes into that. Measured on 4 cores (AMD EPYC), idle and
    beside a process with two busy threads, by turns of the loop: a clip of 30 s by DNSMOS with two threads, in seconds,
    and a training of a small network with four, in thousand tokens a second.

        turns       DNSMOS idle   beside others   training idle   beside others
        0           .22-.23       .36-.40         22              19-22
        1,000       .20-.22       .38-.41         40              21
        20,000      .19-.20       .80-.92         40              2.6
        default     .19           -               -               0.7-1.5
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
