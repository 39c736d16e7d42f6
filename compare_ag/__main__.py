"""``python -m compare_ag``: the same as the command ``compare-ag``."""

from compare_ag.cli import main

if __name__ == "__main__":
    main()
