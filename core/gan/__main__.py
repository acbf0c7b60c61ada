"""``python -m gan`` runs the command line, like ``gan``."""

from gan.cli import main

if __name__ == "__main__":
    main()
