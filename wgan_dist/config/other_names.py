"""The names and values of settings in other programs, and what they are called here."""

# The settings of this package, with their names elsewhere. Capitals, hyphens and underscores make no difference.
OTHER_NAMES = {
    "data": "data_dir data_path data_root dataroot dataset dataset_path dataset_root image_dir images img_dir path "
    "real real_path root train_data train_data_dir train_dir",
    "samples": "fake fake_path generated images",
    "image_size": "crop_size fine_size height im_size image_width img_resolution img_size load_size res resolution "
    "size width",
    "channels": "img_channels input_nc nc num_channels output_nc",
    "background": "bgcolor",
    "flip": "hflip horizontal_flip mirror",
    "workers": "n_cpu num_workers",
    "threads": "nthreads num_threads",
    "holdout": "val_split validation_split",
    "generator": "arch architecture g_model model net netG network",
    "critic": "arch architecture d_model discriminator model net netD network",
    "generator_features": "dim features features_g ngf",
    "critic_features": "dim features features_d ndf",
    "generator_norm": "norm",
    "critic_norm": "norm",
    "latent_dim": "latent latent_size noise_dim nz z z_dim z_size",
    "spectral_norm": "sn",
    "loss": "adversarial_loss criterion gan_mode gan_type loss_type",
    "penalty": "gp gradient_penalty",
    "gp_weight": "gamma gp gp_lambda gradient_penalty lambda lambda_gp lambda_term r1_gamma",
    "penalty_every": "d_reg_every d_reg_interval gp_every lazy_reg",
    "clip_value": "clip clip_weights weight_clip weight_cliping_limit",
    "augment": "ada aug augpipe diffaug",
    "freeze_critic": "freeze_d freezed freeze_discriminator",
    "batch_size": "batch bs global_batch_size train_batch_size",
    "accumulation": "grad_accum gradient_accumulation_steps",
    "n_critic": "critic_iterations critic_iters critic_steps d_iters d_steps n_dis num_critic",
    "optimizer": "opt optim",
    "adam_eps": "adam_epsilon eps epsilon",
    "critic_lr": "d_lr learning_rate_d lr_d",
    "generator_lr": "g_lr learning_rate_g lr_g",
    "lr_decay": "lr_policy lr_scheduler scheduler",
    "ema_decay": "ema ema_beta",
    "max_steps": "iterations iters max_iter max_iters max_train_steps niter num_iterations num_steps steps "
    "total_steps train_steps",
    "recipe": "cfg config",
    "ckpt": "checkpoint checkpoint_path ckpt_path load load_path model model_path network_pkl pretrained run "
    "weights_path",
    "resume": "checkpoint checkpoint_path ckpt ckpt_path continue continue_train load load_path resume_from "
    "resume_from_checkpoint resume_path",
    "init_from": "checkpoint checkpoint_path ckpt ckpt_path load load_path model_path pretrained resume_from "
    "resume_from_checkpoint resume_path weights_path",
    "out": "out_dir outf output output_dir output_path result_dir results_dir save_dir save_path",
    "run_dir": "checkpoints_dir exp_name experiment experiment_name log_dir name out out_dir outf output output_dir "
    "output_path result_dir results_dir run save_dir save_path workdir",
    "checkpoint_every": "checkpoint_interval checkpointing_steps save_epoch_freq save_every save_freq save_interval "
    "save_steps snap",
    "sample_every": "display_freq sample_freq sample_interval",
    "log_every": "log_freq log_interval logging_steps print_every print_freq",
    "trackers": "report_to tracker use_wandb wandb",
    "evaluate_every": "eval_every eval_interval eval_steps",
    "metrics": "metric",
    "best_metric": "metric",
    "early_stop": "early_stopping",
    "seed": "manual_seed random_seed random_state",
    "tf32": "allow_tf32",
    "compile": "torch_compile",
    "dry_run": "debug",
    "precision": "dtype fp16 half int8 quantize",
    "count": "n n_samples nrow num num_images num_sample num_samples sample_size",
    "grid_images": "n_samples nrow num_sample num_samples sample_size",
    "evaluation_images": "num_images",
    "interpolate": "seeds",
    "truncation": "trunc truncation_psi",
    "opset": "opset_version",
}

# What to say where a name is not enough: names elsewhere, a setting of the commands that this concerns, and the words.
ADVICE = (
    (
        "devices gpu gpu_id gpu_ids gpus n_gpu ngpu num_gpu num_gpus num_processes",
        "n_critic",
        "the launcher starts the processes: accelerate launch --num_processes=N -m wgan_dist.train, or "
        "bash launch/multi_gpu.sh for one on each GPU",
    ),
    (
        "ddp dist_backend distributed local_rank nodes num_machines num_nodes world_size",
        "n_critic",
        "the launcher starts the processes: accelerate launch, torchrun, or bash launch/multi_node.sh",
    ),
    (
        "epoch epochs max_epoch max_epochs n_epoch n_epochs num_epoch num_epochs train_epochs",
        "max_steps",
        "use --max_steps with the unit, as --max_steps=2epoch",
    ),
    ("ema_kimg", "ema_half_life", "use --ema_half_life in images, 1000 times as many"),
    ("kimg", "max_steps", "use --max_steps in generator steps: 1000 times kimg, divided by --batch_size"),
    ("learning_rate lr", "critic_lr", "use --critic_lr and --generator_lr"),
    (
        "cpu cuda device no_cuda use_cpu use_cuda use_gpu",
        "seed",
        "a GPU is used where there is one; the environment variable CUDA_VISIBLE_DEVICES chooses it, or none if empty",
    ),
    ("amp fp16 half use_amp", "mixed_precision", "use --mixed_precision=fp16, or bf16"),
    ("bf16", "mixed_precision", "use --mixed_precision=bf16"),
    ("adam_beta1 b1 beta beta1 beta_1", "betas", "use --betas for both, as --betas=0.5,0.9"),
    ("adam_beta2 b2 beta2 beta_2", "betas", "use --betas for both, as --betas=0.5,0.9"),
    (
        "class_cond classes cond conditional n_classes num_classes use_labels",
        "labels",
        "use --labels=auto; the classes are those of the data",
    ),
)

# The values of settings elsewhere: the setting, the values, and what stands for them here.
OTHER_VALUES = (
    ("loss", "gp wgan_gp", "--loss=wasserstein --penalty=gp"),
    ("loss", "wgan_lp", "--loss=wasserstein --penalty=lp"),
    ("loss", "emd w wgan", "--loss=wasserstein"),
    ("loss", "dcgan gan logistic non_saturating ns vanilla", "--loss=bce"),
    ("loss", "sngan", "--loss=hinge --spectral_norm=critic"),
    ("loss", "dragan", "--loss=bce --penalty=dragan"),
    ("penalty", "gradient gradient_penalty true two_sided wgan_gp", "--penalty=gp"),
    ("penalty", "one_sided wgan_lp", "--penalty=lp"),
    ("penalty", "clipping wc weight_clip weight_clipping", "--penalty=clip"),
    ("penalty", "false no", "--penalty=none"),
    ("generator_norm", "batch_norm bn", "--generator_norm=batch"),
    ("generator_norm", "in instance_norm", "--generator_norm=instance"),
    ("generator_norm", "false no", "--generator_norm=none"),
    ("critic_norm", "batch_norm bn", "--critic_norm=batch"),
    ("critic_norm", "in instance_norm", "--critic_norm=instance"),
    ("critic_norm", "layer_norm ln", "--critic_norm=layer"),
    ("critic_norm", "false no", "--critic_norm=none"),
    ("spectral_norm", "d discriminator true yes", "--spectral_norm=critic"),
    ("spectral_norm", "g", "--spectral_norm=generator"),
    ("spectral_norm", "false no", "--spectral_norm=none"),
    ("latent_distribution", "gauss gaussian", "--latent_distribution=normal"),
    ("lr_decay", "true yes", "--lr_decay=linear"),
    ("lr_decay", "constant false no", "--lr_decay=none"),
    ("mixed_precision", "16 amp float16 half true", "--mixed_precision=fp16"),
    ("mixed_precision", "bfloat16", "--mixed_precision=bf16"),
    ("mixed_precision", "32 false float32 fp32 none", "--mixed_precision=no"),
    ("dtype", "float16 fp16 half", "--mixed_precision=fp16"),
    ("dtype", "bf16 bfloat16", "--mixed_precision=bf16"),
    ("dtype", "float fp32", "--dtype=float32"),
    ("dtype", "double fp64", "--dtype=float64"),
    ("early_stop", "true yes", "--early_stop=best"),
    ("early_stop", "false none", "--early_stop=no"),
)


def _key(name: str) -> str:
    """Return what is compared of a name: other programs write batchSize, batch-size and batchsize."""
    return name.lower().replace("-", "").replace("_", "")


def _is_among(name: str, names: str) -> bool:
    return _key(name) in map(_key, names.split())


def advice_for_name(name: str, known: list[str]) -> str:
    """Return what to use instead of a setting of another program, or "" for one that is not in these tables.

    `known` are the settings that the command has.
    """
    for names, concerned, words in ADVICE:
        if concerned in known and _is_among(name, names):
            return words
    settings = [f"--{setting}" for setting in known if _is_among(name, f"{setting} {OTHER_NAMES.get(setting, '')}")]
    return f"use {' or '.join(settings)}" if settings else ""


def advice_for_value(setting: str, value: str) -> str:
    """Return what to use instead of a value that a setting has in another program, or ""."""
    found = (instead for name, values, instead in OTHER_VALUES if name == setting and _is_among(value, values))
    return next((f"use {instead}" for instead in found), "")
