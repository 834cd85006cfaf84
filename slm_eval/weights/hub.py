"""Files of a model repository on the Hugging Face hub: in the hub's own cache, or fetched into it.

The cache's layout is a documented contract, so that looking into it needs no import and no network:
``models--<owner>--<name>/refs/main`` holds a revision, ``snapshots/<revision>/`` its files.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from slm_eval.base.errors import SlmEvalError
from slm_eval.weights.download import NotPublished


def cache_folder() -> Path:
    """Return ``$HF_HUB_CACHE``, else ``$HF_HOME/hub``, else ``~/.cache/huggingface/hub``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    home = os.environ.get("HF_HOME") or Path(base) / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def cached_snapshot(repo: str) -> Path | None:
    """Return the folder of ``repo``'s main revision in the hub's cache; it may lack files that nobody asked for yet."""
    folder = cache_folder() / f"models--{repo.replace('/', '--')}"
    try:
        revision = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SlmEvalError(f"cannot read the Hugging Face cache {folder}: {error.strerror}; set HF_HOME") from error
    snapshot = folder / "snapshots" / revision
    return snapshot if revision and snapshot.is_dir() else None


def client_installed() -> bool:
    """Return whether the package huggingface_hub is there: it knows tokens, mirrors and its own cache."""
    return importlib.util.find_spec("huggingface_hub") is not None


def fetch_file(repo: str, file: str) -> None:
    """Fetch one file of ``repo`` into the hub's cache, by the hub's client; it resumes what was cut by itself.

    Raises:
        NotPublished: the repository has no such file.
        SlmEvalError: no network, no space, no access.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        hf_hub_download(repo, file)
    except LocalEntryNotFoundError as error:
        raise _failed(repo, error) from error
    except EntryNotFoundError as error:
        raise NotPublished(f"huggingface.co/{repo} has no {file}; get the file by other means") from error
    except Exception as error:  # requests' errors up to huggingface_hub 0, httpx's from 1 on, and its own
        raise _failed(repo, error) from error


def _failed(repo: str, error: Exception) -> SlmEvalError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return SlmEvalError(
        f"the download of huggingface.co/{repo} failed ({reason}); check the network, the proxy and the space in "
        f"{cache_folder()}; the same command continues"
    )
