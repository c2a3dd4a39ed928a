"""The methods: their settings by the papers, and at demonstration size."""

from dataclasses import replace

from colorize.config import TrainConfig

# Of the source story, for attempts one and two alike.
_FIRST_SETUP = {
    "model_args": {"backbone_weights": "IMAGENET1K_V1"},
    "encoder_lr_scale": 0.1,
    "patience": 3,
}
_PIX2PIX = TrainConfig(
    model="unet_gan",
    size=256,
    epochs=100,
    lr=2e-4,
    betas=(0.5, 0.999),
    schedule="linear",
    distance="l1",
    adversarial="vanilla",
    distance_weight=100.0,
)
_RESNET34 = {"backbone": "resnet34", "backbone_weights": "IMAGENET1K_V1"}
_BACKBONE = TrainConfig(
    model="backbone_unet",
    model_args=_RESNET34,
    lr=3e-4,
    encoder_lr_scale=0.1,
    schedule="cosine",
    ema=0.999,
    distance="l1",
)

PRESETS = {
    # 1. ResNet50 features, MSE: paints everything brown.
    "autoencoder": TrainConfig(model="resnet_autoencoder", **_FIRST_SETUP),
    # 2. The same setup, every level of a ResNet101.
    "fcn": TrainConfig(model="resnet_fcn", **_FIRST_SETUP),
    # 3. pix2pix (Isola et al. 2017, sections 3.3 and 6.2).
    "unet_gan": _PIX2PIX,
    # What its U-Net learns without a critic (L1 alone, Isola et al. 2017, table 1).
    "unet": replace(_PIX2PIX, model="unet", adversarial=None, distance_weight=1.0),
    # A pretrained backbone inside the U-Net.
    "backbone": _BACKBONE,
    "perceptual": replace(_BACKBONE, distance="perceptual"),
    # Zhang, Isola, Efros 2016, section 3.1 (Adam's numbers from their code).
    "colorful": replace(
        _BACKBONE,
        model="color_classifier",
        betas=(0.9, 0.99),
        distance="rebalanced_cross_entropy",
    ),
    # Mao et al. 2017: the loss alone differs from pix2pix.
    "least_squares": replace(_PIX2PIX, adversarial="least_squares"),
    # Zhang et al. 2019: hinge, spectral norm in both, attention at 32x32, two learning rates.
    "sagan": replace(
        _PIX2PIX,
        model_args={"spectral_norm": True, "attention": 8, "critic_attention": 8},
        lr=1e-4,
        critic_lr=4e-4,
        betas=(0.0, 0.9),
        ema=0.999,
        adversarial="hinge",
    ),
    # Antic 2018 (DeOldify): the generator alone, the critic alone, both briefly; the turn by rule.
    "nogan": TrainConfig(
        model="backbone_gan",
        model_args=_RESNET34 | {"attention": 8, "spectral_norm": True, "critic_attention": 8},
        size=192,
        epochs=25,
        lr=1e-4,
        critic_lr=5e-4,
        betas=(0.0, 0.9),
        encoder_lr_scale=0.1,
        ema=0.999,
        distance="perceptual",
        adversarial="vanilla",
        distance_weight=1.5,
        phases=(("generator", 20, 1.0), ("critic", 4, 1.0), ("both", 1, 0.2)),
        score_every=50,
    ),
    # Zhang et al. 2017: random hints, one time in eight none.
    "hints": replace(_BACKBONE, model_args=_RESNET34 | {"hints": True}, distance="smooth_l1"),
    # The backbone, with inputs aged by a century.
    "old_photos": replace(_BACKBONE, old_photos=0.8),
}

# The same methods at demonstration size: minutes on a CPU, no pretrained weights. They learn the
# embedded photos' colors and little else. Epochs of three steps are noisy, hence the slower rate
# and the longer patience.
_QUICK = {"size": 64, "batch_size": 4}
_FIRST_QUICK = {"epochs": 30, "lr": 3e-4, "patience": 10, **_QUICK}
_GAN_QUICK = {"epochs": 60, **_QUICK}
_SMALL_UNET = {"depth": 6, "base_channels": 32}
_RESNET18 = {"backbone": "resnet18", "width": 64}
_BACKBONE_QUICK = {"epochs": 30, "lr": 1e-3, "ema": 0.9, **_QUICK}
PRESETS |= {
    "autoencoder_quick": replace(PRESETS["autoencoder"], model_args={}, **_FIRST_QUICK),
    "fcn_quick": replace(PRESETS["fcn"], model_args={"backbone": "resnet18"}, **_FIRST_QUICK),
    "unet_gan_quick": replace(_PIX2PIX, model_args=_SMALL_UNET, **_GAN_QUICK),
    "unet_quick": replace(PRESETS["unet"], model_args=_SMALL_UNET, **_GAN_QUICK),
    "backbone_quick": replace(_BACKBONE, model_args=_RESNET18, **_BACKBONE_QUICK),
    "colorful_quick": replace(PRESETS["colorful"], model_args=_RESNET18, **_BACKBONE_QUICK),
    "least_squares_quick": replace(PRESETS["least_squares"], model_args=_SMALL_UNET, **_GAN_QUICK),
    "sagan_quick": replace(
        PRESETS["sagan"],
        **_GAN_QUICK | {"ema": 0.9},
        model_args=_SMALL_UNET | {"spectral_norm": True, "attention": 8, "critic_attention": 8},
    ),
    "nogan_quick": replace(
        PRESETS["nogan"],
        **_QUICK,
        model_args=_RESNET18
        | {"attention": 8, "spectral_norm": True, "critic_attention": 8, "critic_channels": 32},
        epochs=40,
        lr=1e-3,
        ema=0.9,
        distance="l1",
        distance_weight=10.0,
        phases=(("generator", 25, 1.0), ("critic", 5, 1.0), ("both", 10, 0.2)),
        score_every=3,
    ),
    "hints_quick": replace(
        PRESETS["hints"], model_args=_RESNET18 | {"hints": True}, **_BACKBONE_QUICK
    ),
    "old_photos_quick": replace(PRESETS["old_photos"], model_args=_RESNET18, **_BACKBONE_QUICK),
}

# What each preset is, and whose: for tables.
PAPERS = {
    "autoencoder": ("features of a ResNet, squared error", "the source story's first attempt"),
    "fcn": ("scores of every level added up", "Long et al. 2015, arXiv:1411.4038"),
    "unet_gan": ("U-Net and critic of patches", "Isola et al. 2017, arXiv:1611.07004"),
    "unet": ("the same U-Net without a critic", "Isola et al. 2017, arXiv:1611.07004"),
    "backbone": ("U-Net on a pretrained backbone", "Ronneberger et al. 2015, arXiv:1505.04597"),
    "perceptual": ("the same, features compared", "Johnson et al. 2016, arXiv:1603.08155"),
    "colorful": ("colors as classes, rare ones weigh more", "Zhang et al. 2016, arXiv:1603.08511"),
    "least_squares": ("pix2pix with another game", "Mao et al. 2017, arXiv:1611.04076"),
    "sagan": ("self-attention, spectral norm, hinge", "Zhang et al. 2019, arXiv:1805.08318"),
    "nogan": ("generator, critic, then both briefly", "Antic 2018, github.com/jantic/DeOldify"),
    "hints": ("automatic, or led by color hints", "Zhang et al. 2017, arXiv:1705.02999"),
    "old_photos": ("the backbone, inputs aged", "this project"),
}
