"""The methods: their settings by the papers, and at demonstration size."""

from dataclasses import replace

from colorize.config import TrainConfig

# Of the source story, for attempts one and two alike.
_FIRST_SETUP = {
    "model_kwargs": {"encoder_weights": "IMAGENET1K_V1"},
    "encoder_lr_mult": 0.1,
    "patience": 3,
}
_PIX2PIX = TrainConfig(
    model="unet_gan",
    crop_size=256,
    epochs=100,
    lr=2e-4,
    betas=(0.5, 0.999),
    lr_schedule="linear",
    reconstruction_loss="l1",
    gan_loss="vanilla",
    reconstruction_weight=100.0,
)
_RESNET34 = {"encoder_name": "resnet34", "encoder_weights": "IMAGENET1K_V1"}
_ENCODER_UNET = TrainConfig(
    model="encoder_unet",
    model_kwargs=_RESNET34,
    lr=3e-4,
    encoder_lr_mult=0.1,
    lr_schedule="cosine",
    ema_decay=0.999,
    reconstruction_loss="l1",
)

PRESETS = {
    # 1. ResNet50 features, MSE: paints everything brown.
    "autoencoder": TrainConfig(model="resnet_autoencoder", **_FIRST_SETUP),
    # 2. The same setup, every level of a ResNet101.
    "fcn": TrainConfig(model="resnet_fcn", **_FIRST_SETUP),
    # 3. pix2pix (Isola et al. 2017, sections 3.3 and 6.2).
    "unet_gan": _PIX2PIX,
    # What its U-Net learns without a critic (L1 alone, Isola et al. 2017, table 1).
    "unet": replace(_PIX2PIX, model="unet", gan_loss=None, reconstruction_weight=1.0),
    # A pretrained backbone inside the U-Net.
    "encoder_unet": _ENCODER_UNET,
    "perceptual": replace(_ENCODER_UNET, reconstruction_loss="perceptual"),
    # Zhang, Isola, Efros 2016, section 3.1 (Adam's numbers from their code).
    "zhang2016": replace(
        _ENCODER_UNET,
        model="color_classifier",
        betas=(0.9, 0.99),
        reconstruction_loss="rebalanced_cross_entropy",
    ),
    # Mao et al. 2017: the loss alone differs from pix2pix.
    "lsgan": replace(_PIX2PIX, gan_loss="least_squares"),
    # Zhang et al. 2019: hinge, spectral norm in both, attention at 32x32, two learning rates.
    "sagan": replace(
        _PIX2PIX,
        model_kwargs={"spectral_norm": True, "attention": 8, "discriminator_attention": 8},
        lr=1e-4,
        discriminator_lr=4e-4,
        betas=(0.0, 0.9),
        ema_decay=0.999,
        gan_loss="hinge",
    ),
    # Antic 2018 (DeOldify): the generator alone, the critic alone, both briefly; the turn by rule.
    "nogan": TrainConfig(
        model="encoder_unet_gan",
        model_kwargs=_RESNET34
        | {"attention": 8, "spectral_norm": True, "discriminator_attention": 8},
        crop_size=192,
        epochs=25,
        lr=1e-4,
        discriminator_lr=5e-4,
        betas=(0.0, 0.9),
        encoder_lr_mult=0.1,
        ema_decay=0.999,
        reconstruction_loss="perceptual",
        gan_loss="vanilla",
        reconstruction_weight=1.5,
        phases=(("generator", 20, 1.0), ("discriminator", 4, 1.0), ("joint", 1, 0.2)),
        selection_interval=50,
    ),
    # Zhang et al. 2017: random hints, one time in eight none.
    "hint_guided": replace(
        _ENCODER_UNET, model_kwargs=_RESNET34 | {"hints": True}, reconstruction_loss="smooth_l1"
    ),
    # The backbone, with inputs aged by a century.
    "degraded": replace(_ENCODER_UNET, degradation_prob=0.8),
}

# The same methods at demonstration size: minutes on a CPU, no pretrained weights. They learn the
# embedded photos' colors and little else. Epochs of three steps are noisy, hence the slower rate
# and the longer patience.
_QUICK = {"crop_size": 64, "batch_size": 4}
_FIRST_QUICK = {"epochs": 30, "lr": 3e-4, "patience": 10, **_QUICK}
_GAN_QUICK = {"epochs": 60, **_QUICK}
_SMALL_UNET = {"depth": 6, "base_channels": 32}
_RESNET18 = {"encoder_name": "resnet18", "width": 64}
_ENCODER_QUICK = {"epochs": 30, "lr": 1e-3, "ema_decay": 0.9, **_QUICK}
PRESETS |= {
    "autoencoder_quick": replace(PRESETS["autoencoder"], model_kwargs={}, **_FIRST_QUICK),
    "fcn_quick": replace(PRESETS["fcn"], model_kwargs={"encoder_name": "resnet18"}, **_FIRST_QUICK),
    "unet_gan_quick": replace(_PIX2PIX, model_kwargs=_SMALL_UNET, **_GAN_QUICK),
    "unet_quick": replace(PRESETS["unet"], model_kwargs=_SMALL_UNET, **_GAN_QUICK),
    "encoder_unet_quick": replace(_ENCODER_UNET, model_kwargs=_RESNET18, **_ENCODER_QUICK),
    "zhang2016_quick": replace(PRESETS["zhang2016"], model_kwargs=_RESNET18, **_ENCODER_QUICK),
    "lsgan_quick": replace(PRESETS["lsgan"], model_kwargs=_SMALL_UNET, **_GAN_QUICK),
    "sagan_quick": replace(
        PRESETS["sagan"],
        **_GAN_QUICK | {"ema_decay": 0.9},
        model_kwargs=_SMALL_UNET
        | {"spectral_norm": True, "attention": 8, "discriminator_attention": 8},
    ),
    "nogan_quick": replace(
        PRESETS["nogan"],
        **_QUICK,
        model_kwargs=_RESNET18
        | {
            "attention": 8,
            "spectral_norm": True,
            "discriminator_attention": 8,
            "discriminator_channels": 32,
        },
        epochs=40,
        lr=1e-3,
        ema_decay=0.9,
        reconstruction_loss="l1",
        reconstruction_weight=10.0,
        phases=(("generator", 25, 1.0), ("discriminator", 5, 1.0), ("joint", 10, 0.2)),
        selection_interval=3,
    ),
    "hint_guided_quick": replace(
        PRESETS["hint_guided"], model_kwargs=_RESNET18 | {"hints": True}, **_ENCODER_QUICK
    ),
    "degraded_quick": replace(PRESETS["degraded"], model_kwargs=_RESNET18, **_ENCODER_QUICK),
}

# What each preset is, and whose: for tables.
PAPERS = {
    "autoencoder": ("features of a ResNet, squared error", "the source story's first attempt"),
    "fcn": ("scores of every level added up", "Long et al. 2015, arXiv:1411.4038"),
    "unet_gan": ("U-Net and critic of patches", "Isola et al. 2017, arXiv:1611.07004"),
    "unet": ("the same U-Net without a critic", "Isola et al. 2017, arXiv:1611.07004"),
    "encoder_unet": ("U-Net on a pretrained backbone", "Ronneberger et al. 2015, arXiv:1505.04597"),
    "perceptual": ("the same, features compared", "Johnson et al. 2016, arXiv:1603.08155"),
    "zhang2016": ("colors as classes, rare ones weigh more", "Zhang et al. 2016, arXiv:1603.08511"),
    "lsgan": ("pix2pix with another game", "Mao et al. 2017, arXiv:1611.04076"),
    "sagan": ("self-attention, spectral norm, hinge", "Zhang et al. 2019, arXiv:1805.08318"),
    "nogan": ("generator, critic, then both briefly", "Antic 2018, github.com/jantic/DeOldify"),
    "hint_guided": ("automatic, or led by color hints", "Zhang et al. 2017, arXiv:1705.02999"),
    "degraded": ("the backbone, inputs aged", "this project"),
}
