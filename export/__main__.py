"""The command `python -m export`, which lists all commands."""

from wgan_dist.config.command_list import main

if __name__ == "__main__":
    main()
