"""A downloader for pooch that goes on where the last download of a file broke off.

pooch's own begins anew. Here what comes is kept beside the file, under its name and ".part", with the server's word for
this version of it (ETag, or Last-Modified), so that no two versions are ever joined; RFC 9110, sections 13 and 14.
"""

import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock
from tqdm import tqdm

from ilo.assets import AssetError

TIMEOUT = (20, 60)  # seconds, to connect and between two blocks
BLOCK = 2**16  # what is lost of a download that breaks off
WEB_PAGE = (b"<!doctype html", b"<html")


class Resumed:
    """Downloads to `path` and ".part", then moves the whole file to where pooch expects it."""

    def __init__(self, path: Path, progress: bool):
        self.part = path.with_name(path.name + ".part")
        self.version = path.with_name(path.name + ".version")
        self.progress = progress

    def __call__(self, url: str, output_file: str, _: Any = None) -> None:
        """Download `url` to `output_file`. AssetError says how much has come, or why nothing could."""
        with FileLock(str(self.part) + ".lock"):  # a second process waits, and then finds the file
            try:
                self._download(url)
            except requests.HTTPError as error:
                raise AssetError(
                    f"{url} answers {error.response.status_code} {error.response.reason}: the file may have moved. "
                    "Get it by hand and give its path"
                ) from error
            except requests.RequestException as error:
                kept = self.part.stat().st_size if self.part.exists() else 0
                raise AssetError(
                    f"the download of {url} broke off ({type(error).__name__}); {kept / 1e6:.1f} MB are kept, and the "
                    "next try goes on behind them. Check the network and try again"
                ) from error
            os.replace(self.part, output_file)
            self.version.unlink(missing_ok=True)

    def _download(self, url: str) -> None:
        have = self.part.stat().st_size if self.part.exists() and self.version.exists() else 0
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": self.version.read_text(encoding="utf-8")}
        with requests.get(url, stream=True, headers=headers, timeout=TIMEOUT) as answer:
            goes_on = answer.status_code == 206
            elsewhere = goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if have and (answer.status_code == 416 or elsewhere):  # nothing fits behind what is here: begin anew
                self.version.unlink(missing_ok=True)
                return self._download(url)
            answer.raise_for_status()
            blocks = answer.iter_content(BLOCK)
            first = next(blocks, b"")
            if "html" in answer.headers.get("Content-Type", "") or first[:14].lower().startswith(WEB_PAGE):
                raise AssetError(
                    f"{url} sends a web page and not the file: it may ask for a login or a consent. Open it in a "
                    "browser, get the file by hand, and give its path"
                )
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            if version and not version.startswith("W/"):  # a weak one does not promise the same bytes
                self.version.write_text(version, encoding="utf-8")
            else:
                self.version.unlink(missing_ok=True)
            self._write(answer, chain([first], blocks), have if goes_on else 0)

    def _write(self, answer: requests.Response, blocks: Iterable[bytes], have: int) -> None:
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, disable=not self.progress, leave=False)
        with bar, open(self.part, "ab" if have else "wb") as file:
            for block in blocks:
                file.write(block)
                bar.update(len(block))
