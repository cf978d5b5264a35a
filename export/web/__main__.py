"""`python -m export.web`: write a web page that samples from a generator in the visitor's browser."""

from export.settings import WebSettings
from wgan_dist.config.command_line import run_command

USAGE = """
Write a folder with a web page that samples from a trained generator in the visitor's browser.

  python -m export.web --ckpt=runs/0001 --out=page/
  python -m http.server --directory page/

Any static file server can serve the folder, from any path. The page requests nothing from other servers.
"""

if __name__ == "__main__":
    run_command("export.web.folder:export_web", WebSettings, USAGE)
