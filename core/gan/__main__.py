"""``python -m gan`` = ``gan``."""

from gan.cli import main

if __name__ == "__main__":
    main()
