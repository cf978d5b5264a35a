"""Checks of settings that are each valid and contradict one another."""

from typing import Any

from wgan_dist.config.config import AUGMENT_POLICY, NO_LABELS, Config
from wgan_dist.config.data_choices import POINTS
from wgan_dist.config.fields import show
from wgan_dist.config.network_choices import LIPSCHITZ
from wgan_dist.config.text_lists import is_label_table, path_exists
from wgan_dist.utils.console import is_utf8
from wgan_dist.utils.errors import UserError

# The settings that need labels.
CONDITIONAL = (
    "class_balance",
    "generator_labels",
    "critic_labels",
    "critic_class_weight",
    "generator_class_weight",
    "classifier",
)


def _check_lipschitz_critic(config: Config) -> None:
    if config.critic != LIPSCHITZ:
        return
    if config.penalty != "none":
        raise UserError(
            f"penalty={config.penalty} with critic={LIPSCHITZ}: its layers bound the Lipschitz constant by themselves; "
            "expected penalty=none"
        )
    if config.spectral_norm in ("critic", "both"):
        raise UserError(
            f"spectral_norm={config.spectral_norm} with critic={LIPSCHITZ}: its weights are orthonormal already; "
            "expected spectral_norm=none or generator"
        )
    if config.labels != NO_LABELS and config.critic_labels != "concat":
        raise UserError(
            f"critic_labels={config.critic_labels} with critic={LIPSCHITZ}: the layer of the classes would break its "
            "Lipschitz bound; expected critic_labels=concat"
        )
    if config.tf32:
        raise UserError(
            f"tf32=true with critic={LIPSCHITZ}: TF32 rounds its orthonormal weights to 10 bits; expected tf32=false"
        )


def _check_critic_constraint(config: Config) -> None:
    normalised = config.spectral_norm in ("critic", "both")
    constrained = normalised or config.critic == LIPSCHITZ or ":" in config.critic
    if config.loss == "wasserstein" and config.penalty == "none" and not constrained:
        raise UserError(
            "penalty=none with loss=wasserstein: without a Lipschitz constraint the estimate grows without bound; "
            f"expected a penalty, critic={LIPSCHITZ}, or spectral_norm=critic with critic_norm=none"
        )
    if config.penalty == "clip" and config.loss != "wasserstein":
        raise UserError(
            f"penalty=clip with loss={config.loss}: this loss needs scores larger than clipped weights allow; "
            "expected loss=wasserstein"
        )
    if config.penalty == "clip" and normalised:
        raise UserError(
            f"penalty=clip with spectral_norm={config.spectral_norm}: spectral norm makes clipping ineffective; "
            "expected spectral_norm=none or generator"
        )
    if config.critic_norm == "batch" and config.penalty not in ("clip", "none"):
        raise UserError(
            f"critic_norm=batch with penalty={config.penalty}: the penalty needs the gradient of each sample alone, "
            "and BatchNorm mixes samples; expected critic_norm=instance, layer or none"
        )


def _check_few_images(config: Config) -> None:
    if config.augment != "none" and config.data[0] in POINTS:
        raise UserError(f"augment={config.augment}: is for images, and {config.data[0]} are points")
    if config.augment == "none" and config.augment_policy != AUGMENT_POLICY:
        policy = ",".join(config.augment_policy)
        raise UserError(f"augment_policy={policy} with augment=none: expected augment=diffaugment or adaptive")
    if config.freeze_critic and not config.init_from:
        raise UserError(
            f"freeze_critic={config.freeze_critic} without init_from: the frozen layers keep the weights of another "
            "run; expected --init_from=RUN"
        )


def _check_schedule(config: Config) -> None:
    if config.critic_warmup and (config.loss != "wasserstein" or config.real_batch_per == "generator"):
        raise UserError(
            f"critic_warmup=true with loss={config.loss}, real_batch_per={config.real_batch_per}: the warm-up brings a "
            "Wasserstein critic near its optimum on new batches; expected loss=wasserstein, real_batch_per=critic"
        )
    if config.reuse_latents and config.generator_batch_size not in (None, config.batch_size):
        raise UserError(
            f"reuse_latents=true with generator_batch_size={config.generator_batch_size}: "
            f"expected batch_size={config.batch_size}"
        )
    if config.loss == "relativistic" and config.generator_batch_size not in (None, config.batch_size):
        raise UserError(
            f"loss=relativistic with generator_batch_size={config.generator_batch_size}: it compares each generated "
            f"image with a real one; expected batch_size={config.batch_size}"
        )
    if config.penalty_every > 1 and config.penalty in ("clip", "none"):
        raise UserError(
            f"penalty_every={config.penalty_every} with penalty={config.penalty}: expected a gradient penalty"
        )
    if config.lr_decay_start and config.lr_decay == "none":
        raise UserError(f"lr_decay_start={config.lr_decay_start:g} with lr_decay=none: expected linear or cosine")
    if config.ema_half_life is not None and config.ema_decay != Config.ema_decay:
        raise UserError(
            f"ema_half_life={config.ema_half_life} with ema_decay={config.ema_decay:g}: expected one of them; "
            f"--ema_decay={Config.ema_decay:g} takes back that of a recipe"
        )


def _check_computation(config: Config) -> None:
    for name in ("batch_size", "generator_batch_size"):
        size = getattr(config, name)
        if size is not None and size % config.accumulation:
            raise UserError(f"{name}={size}: expected a multiple of accumulation={config.accumulation}")
    if config.tf32 and config.deterministic:
        raise UserError("tf32=true with deterministic=true: expected one of them; deterministic runs use no TF32")
    if config.cuda_graphs and not config.compile:
        raise UserError("cuda_graphs=true with compile=false: expected compile=true")
    if config.cuda_graphs and config.accumulation > 1:  # a graph's gradients do not outlive its next replay
        raise UserError(f"cuda_graphs=true with accumulation={config.accumulation}: expected accumulation=1")
    if config.dtype == "float64" and config.mixed_precision not in ("auto", "no"):
        raise UserError(f"mixed_precision={config.mixed_precision} with dtype=float64: expected mixed_precision=no")


def _check_evaluation(config: Config) -> None:
    if config.evaluate_every in (0, "0epoch"):
        without = f"with evaluate_every={config.evaluate_every}: nothing is evaluated"
        for name in ("metrics", "best_metric", "feature_extractor", "classifier", "inception_weights"):
            if getattr(config, name) != getattr(Config, name):
                raise UserError(f"{name} {without}; expected evaluate_every to be more than 0")
        if config.early_stop != "no":
            raise UserError(f"early_stop={config.early_stop} {without}; expected evaluate_every to be more than 0")
    if config.early_stop == "holdout" and (not _holds_out(config) or config.loss != "wasserstein"):
        raise UserError(
            f"early_stop=holdout with holdout={config.holdout:g}, loss={config.loss}: "
            "expected holdout to be more than 0, and loss=wasserstein"
        )


def _holds_out(config: Config) -> bool:
    """Return whether samples are held out: adaptive augmentation does so by itself."""
    return bool(config.holdout) or config.augment == "adaptive"


def _check_certification(config: Config) -> None:
    if config.certify_every not in (0, "0epoch") and not _holds_out(config):
        raise UserError(f"certify_every={config.certify_every} with holdout=0: expected holdout to be more than 0")


def _check_labels(config: Config) -> None:
    if config.labels == NO_LABELS:
        for name in CONDITIONAL:
            if getattr(config, name) != getattr(Config, name):
                raise UserError(f"{name}={show(getattr(config, name))} with labels=none: expected labels=auto")
        return
    if config.data[0] in POINTS:
        raise UserError(f"labels={config.labels}: {config.data[0]} are points, which have no classes; expected none")
    if is_label_table(config.labels) and not path_exists(config.labels):
        raise UserError(f"labels={config.labels}: there is no such file")
    _check_conditional_networks(config)


def _check_conditional_networks(config: Config) -> None:
    if config.critic_labels == "concat" and config.penalty == "clip":
        raise UserError(
            "critic_labels=concat with penalty=clip: clipping bounds the label map by clip_value; "
            "expected critic_labels=projection or acgan"
        )
    if config.generator_labels != Config.generator_labels and ":" in config.generator:
        raise UserError(
            f"generator_labels={config.generator_labels} with generator={config.generator}: a custom network takes "
            "labels in its own way; expected auto"
        )
    for name in ("critic_class_weight", "generator_class_weight"):
        value, labels = getattr(config, name), config.critic_labels
        if labels != "acgan" and value != getattr(Config, name):
            raise UserError(f"{name}={value:g} with critic_labels={labels}: expected critic_labels=acgan")


def _check_texts(config: Config) -> None:
    for name in ("description", "license"):
        if not is_utf8(getattr(config, name)):
            raise UserError(f"{name}={getattr(config, name)}: expected text in UTF-8")


def check_files_exist(settings: Any) -> None:
    """Check that the files which evaluation needs exist, in the settings of a run or of an evaluation.

    Raises:
        UserError: For the first that does not.
    """
    for name in ("feature_extractor", "classifier", "inception_weights"):
        value = getattr(settings, name)
        if value and not path_exists(value):
            raise UserError(f"{name}={value}: there is no such file")


CHECKS = (
    _check_texts,
    _check_labels,
    _check_lipschitz_critic,
    _check_critic_constraint,
    _check_few_images,
    _check_schedule,
    _check_computation,
    _check_evaluation,
    _check_certification,
)


def check_together(config: Config) -> None:
    """Check that the settings do not contradict one another.

    Raises:
        UserError: For the first contradiction; the message names the settings, their values and what is accepted.
    """
    for check in CHECKS:
        check(config)
    if config.resume != "false" and not config.run_dir:
        raise UserError(f"resume={config.resume}: expected --run_dir, the folder of the run to continue")
