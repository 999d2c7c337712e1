"""Look at a run, a sweep or an audit in the browser, and try things out."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from recondoor.cli._typed import MOST_THREADS, whole


def explore(
    folder: Path,
    /,
    *,
    port: Annotated[
        int, Parameter(help="of 127.0.0.1; default: one that is free", converter=whole(0, 65_535))
    ] = 0,
    no_browser: Annotated[bool, Parameter(help="tell the address and open no browser")] = False,
    data_dir: Annotated[
        Path | None, Parameter(help="of a run: folder with the data set's files")
    ] = None,
    trust_paths: Annotated[
        bool, Parameter(help="of a run: open the files that its own config.toml names")
    ] = False,
    threads: Annotated[
        int | None, Parameter(help="CPU threads of a bench", converter=whole(1, MOST_THREADS))
    ] = None,
) -> None:
    """Show a run, a sweep or an audit in your browser, to try things out.

    A run opens a lab bench: move a trigger over an input, see what networks make of it.
    A sweep opens its map, an audit its suspicious pairs. The page is for this machine
    alone. Ctrl-C ends it. Needs: pip install 'recondoor[explore]'.

    For example:

        recondoor explore runs/mnist5k-0123456789ab
        recondoor explore sweeps/axes --port 8765 --no-browser
        recondoor explore audits/pairs

    Parameters
    ----------
    folder
        Folder of a run, a sweep or an audit.
    """
    from recondoor.explore import Access, open_folder, serve

    serve(open_folder(folder), Access(data_dir, trust_paths, threads), port, not no_browser)
