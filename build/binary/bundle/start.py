"""Where a bundle begins. PyInstaller runs it as ``__main__``."""

from moltbot_edge.__main__ import main

main()
