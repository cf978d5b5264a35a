"""The metadata of exported files: ONNX, TorchScript and program files carry the same keys and values."""

import json

from wgan_dist.checkpoints.generator_file import Artifact, Description

METADATA_PREFIX = "wgan_dist."
# The name of the JSON file with the metadata inside TorchScript and program files; ONNX has properties instead.
METADATA_FILE = "wgan_dist.json"


def _output_format(description: Description, uint8: bool) -> dict[str, str]:
    if description.makes_points:
        return {"value_range": "unbounded", "layout": "nc"}
    return {"value_range": "0,255", "layout": "nhwc"} if uint8 else {"value_range": "-1,1", "layout": "nchw"}


def _source_values(description: Description) -> dict[str, str]:
    """Return what the values of images stand for; the levels of all channels are in JSON, [[low, high], …]."""
    if description.makes_points:
        return {}
    levels = description.levels
    return {
        "dtype": levels.dtype,
        "levels": json.dumps(list(zip(levels.low, levels.high, strict=True))),
        "channel_names": json.dumps(description.channel_names),
        "unit": description.unit,
    }


def _classes(description: Description) -> dict[str, str]:
    """Return the names and shares of the classes in JSON; nothing for a generator without classes."""
    if not description.classes:
        return {}
    return {"classes": json.dumps(description.classes), "class_shares": json.dumps(description.class_shares)}


def metadata(source: Artifact, uint8: bool, precision: str) -> dict[str, str]:
    """Return the metadata of an export of `source`: all that a program needs to sample from the file, as text."""
    description = source.description
    values = {
        "latent_dim": description.latent_dim,
        "latent_distribution": description.latent_distribution,
        "image_size": description.image_size,
        "channels": description.channels,
        **_output_format(description, uint8),
        "network": description.network.name,
        "weights": description.weights,
        "precision": precision,
        "generator_steps": description.steps,
        "data": description.data,
        "data_fingerprint": description.data_fingerprint,
        "description": description.description,
        "license": description.license,
        **_source_values(description),
        **_classes(description),
        "package_version": description.package_version,
        "source_sha256": source.sha256,
    }
    return {f"{METADATA_PREFIX}{name}": str(value) for name, value in values.items()}


def without_prefix(metadata: dict[str, str]) -> dict[str, str]:
    """Return the metadata of a file with the prefix removed from its keys."""
    return {name.removeprefix(METADATA_PREFIX): value for name, value in metadata.items()}
