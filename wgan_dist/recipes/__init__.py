"""One system each, cited, as YAML files of settings; `python -m wgan_dist.recipes` lists them."""
