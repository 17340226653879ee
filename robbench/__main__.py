"""`python -m robbench`."""

from robbench.cli.app import main

if __name__ == "__main__":
    main()
