"""`python -m october` and `torchrun -m october`: the same as the command `october`."""

from .cli import main

if __name__ == "__main__":
    main()
