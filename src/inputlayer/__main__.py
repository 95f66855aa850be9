"""The console's entry: the command line, or one line that says what it lacks."""

import sys

from inputlayer.errors import MissingExtraError


def main() -> None:
    """Run the command line. Exit code 1 where there is only what serving takes."""
    try:
        from inputlayer.cli import main as run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("inputlayer"):
            raise
        sys.exit(f"error: {MissingExtraError(error.name.partition('.')[0], '', 'the command line')}")
    run()


if __name__ == "__main__":
    main()
