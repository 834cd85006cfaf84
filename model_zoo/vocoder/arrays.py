"""Arrays of numpy that anybody may have written: mapped, so that no header asks for more memory than the file has."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read_array(path: Path) -> np.ndarray:
    """Return the array of floats in a .npy file, as a view of the file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such array; pickled objects are refused.
    """
    if not path.is_file():
        raise ValueError("it is not a regular file")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    # numpy reads headers as Python's literals: what is none makes its tokenizer and its parser raise anything.
    except Exception as error:
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.dtype.itemsize > 8:
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"it holds {kind}, expected floats")
    return array
