"""Where the program begins: `fertool`, `python -m fertool`, and so `torchrun -m fertool`."""

from fertool.exits import ctrl_c_ends_at_once


def main() -> None:
    """Run the command line; until a command's work begins Ctrl-C ends the process at once."""
    with ctrl_c_ends_at_once():
        from fertool import cli

        cli.main()


if __name__ == "__main__":
    main()
