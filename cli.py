"""`python cli.py …` = `gan …`, from a checkout."""

import sys
from pathlib import Path

try:
    from gan.cli import main
except ModuleNotFoundError:
    sys.path.insert(0, str(Path(__file__).parent / "core"))
    from gan.cli import main

if __name__ == "__main__":
    main()
