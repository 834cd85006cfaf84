"""Run by its path, this starts a process of ours: ``python start.py MODULE ARGUMENT...`` calls ``MODULE.main()``.

``python -c`` and ``python -m`` put the current folder before the standard library, so that a ``soundfile.py`` among the
clips would be run. A file that is run by its path is given its own folder instead, in every version of Python, and that
is taken away before anything is imported. ``launching`` makes the command and says what may be imported.
"""

import sys

if not getattr(sys.flags, "safe_path", False):  # where that is set (Python 3.11), there is none to take away
    del sys.path[0]

from importlib import import_module

del sys.argv[0]  # the module stands where a program's name stands
import_module(sys.argv[0]).main()
