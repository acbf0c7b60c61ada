"""`python cli.py …` = `gan …`, from a checkout; it uses the checkout's .venv when this Python has no gan."""

import os
import sys
from pathlib import Path

try:
    from gan.cli import main
except ModuleNotFoundError:
    python = Path(__file__).resolve().parent / ".venv" / "bin" / "python"
    if not python.exists() or Path(sys.executable) == python:
        sys.exit("error: gan is not installed here; run `make install` first")
    os.execv(python, [str(python), *sys.argv])

if __name__ == "__main__":
    main()
