"""``python -m hoi_captum``."""

from hoi_captum.cli import main

main()
