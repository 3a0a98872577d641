"""The progress bar of a search."""

import os

from tqdm.auto import tqdm


def progress_bar(steps: int, shown: bool) -> tqdm:
    """A bar of so many steps, to be used by `with`; none where the environment sets TQDM_DISABLE."""
    # tqdm's notebook bar does not look at the variable itself
    quiet = not shown or os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
    return tqdm(total=steps, desc="recover", unit="step", disable=quiet)
