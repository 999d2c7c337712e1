"""``python -m recondoor`` is the command ``recondoor``."""

from recondoor.cli import main

if __name__ == "__main__":
    main()
