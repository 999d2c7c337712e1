"""Runs, sweeps and audits to look at and to try out: a page for this machine's own browser."""

from recondoor.explore._access import Access
from recondoor.explore._folder import Folder, open_folder
from recondoor.explore._guard import Guard
from recondoor.explore._server import Site, serve

__all__ = ["Access", "Folder", "Guard", "Site", "open_folder", "serve"]
