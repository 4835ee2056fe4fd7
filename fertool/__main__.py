"""Lets `python -m fertool` (and so `torchrun -m fertool`) do what `fertool` does."""

from fertool.cli import main

if __name__ == "__main__":
    main()
