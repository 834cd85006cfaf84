"""How often intervals contain the truth, by simulation: the program; its code is ``interval_coverage``.

python benchmarks/coverage.py                                 # 1e3 to 1e5 phones a side: minutes
python benchmarks/coverage.py --phones 1e6 --replicates 40    # about half an hour
python benchmarks/coverage.py --table                         # what was measured, as Markdown
"""

if __name__ != "__main__":
    # Programs in this folder that use librosa: numba asks whether the package coverage is there, and would get this.
    raise ImportError("benchmarks/coverage.py is a program and not the package coverage")

from interval_coverage import main

main()
