"""The page of a report: one HTML file that needs no network and no other file."""

from collections.abc import Iterable
from pathlib import Path

import jinja2

import wgan_dist
from wgan_dist.reporting import timing
from wgan_dist.reporting.content import Content, Shown
from wgan_dist.reporting.curves import COLOURS, colours, title
from wgan_dist.reporting.frames import KINDS
from wgan_dist.reporting.image_files import data_uri

TEMPLATE = "page.html"


def frames_by_kind(shown: Iterable[Shown]) -> dict[str, list[list[dict[str, object]]]]:
    """What the slider is made of: for each kind and run its frames in order, as step, address and words."""
    return {
        kind: [
            [{"step": frame.step, "uri": frame.picture.uri, "alt": frame.picture.alt} for frame in each.frames[kind]]
            for each in shown
        ]
        for kind in KINDS
    }


def differing_noise(shown: Iterable[Shown]) -> str:
    """Words on which runs were not given the same noise; none where all were."""
    groups: dict[str, list[str]] = {}
    for each in shown:
        if each.noise:
            groups.setdefault(str(each.noise), []).append(each.run.name)
    if len(groups) < 2:
        return ""
    parts = [f"{' and '.join(names)}: {noise}" for noise, names in groups.items()]
    return f"Latents differ in size or distribution, and these runs cannot be given the same: {'; '.join(parts)}."


def render(content: Content, animations: dict[str, bytes], made: str) -> str:
    """The page; `animations` are GIFs by the name of their run, `made` is when it was made, in words.

    Texts of users are escaped by the template engine wherever they are put.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        content=content,
        colours={theme: colours(len(content.shown), theme) for theme in COLOURS},
        frames=frames_by_kind(content.shown),
        kinds=KINDS,
        animations={name: data_uri("image/gif", gif) for name, gif in animations.items()},
        differing_noise=differing_noise(content.shown),
        title=title,
        timing=timing,
        made=made,
        version=wgan_dist.__version__,
    )
