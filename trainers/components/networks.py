"""What networks are called and what they take. No torch here: a wrong name is answered at once."""

from typing import NamedTuple

OWN = ("bisenet", "bisenet_original", "deeplabv2", "panoptic_fpn", "pspnet")
"""The networks of ``trainers.networks``; a test holds this list against its table."""

ARCHITECTURES = (
    *OWN,
    "DPT", "DeepLabV3", "DeepLabV3Plus", "FPN", "Linknet", "MAnet", "PAN", "PSPNet", "Segformer", "UPerNet", "Unet",
    "UnetPlusPlus",
)  # fmt: skip
"""Ours, and those of segmentation-models-pytorch; a test holds this list against the library."""

ENCODERS = (
    "densenet121", "densenet161", "densenet169", "densenet201", "dpn107", "dpn131", "dpn68", "dpn68b", "dpn92",
    "dpn98", "efficientnet-b0", "efficientnet-b1", "efficientnet-b2", "efficientnet-b3", "efficientnet-b4",
    "efficientnet-b5", "efficientnet-b6", "efficientnet-b7", "inceptionresnetv2", "inceptionv4", "mit_b0", "mit_b1",
    "mit_b2", "mit_b3", "mit_b4", "mit_b5", "mobilenet_v2", "mobileone_s0", "mobileone_s1", "mobileone_s2",
    "mobileone_s3", "mobileone_s4", "resnet101", "resnet152", "resnet18", "resnet34", "resnet50",
    "resnext101_32x16d", "resnext101_32x32d", "resnext101_32x48d", "resnext101_32x4d", "resnext101_32x8d",
    "resnext50_32x4d", "se_resnet101", "se_resnet152", "se_resnet50", "se_resnext101_32x4d", "se_resnext50_32x4d",
    "senet154", "timm-efficientnet-b0", "timm-efficientnet-b1", "timm-efficientnet-b2", "timm-efficientnet-b3",
    "timm-efficientnet-b4", "timm-efficientnet-b5", "timm-efficientnet-b6", "timm-efficientnet-b7",
    "timm-efficientnet-b8", "timm-efficientnet-l2", "timm-skresnet18", "timm-skresnet34", "timm-skresnext50_32x4d",
    "timm-tf_efficientnet_lite0", "timm-tf_efficientnet_lite1", "timm-tf_efficientnet_lite2",
    "timm-tf_efficientnet_lite3", "timm-tf_efficientnet_lite4", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16",
    "vgg16_bn", "vgg19", "vgg19_bn", "xception",
)  # fmt: skip
"""The encoders of segmentation-models-pytorch beside ``tu-NAME``; a test holds this list against the library."""

PUBLISHED_ENCODER = {"deeplabv2": "resnet101", "panoptic_fpn": "resnet101", "pspnet": "resnet101"}
"""Architecture → the encoder behind its published numbers, where that is not resnet18."""

PUBLISHED_FAMILY = {"deeplabv2": "caffe"}
"""Architecture → the key of ``NORMALIZATIONS`` that it was published with, where that is not ``imagenet``."""

AUXILIARY_WEIGHTS = {"bisenet": 1.0, "bisenet_original": 1.0, "pspnet": 0.4}
"""Architecture with auxiliary heads → weight of each one's loss in its paper."""

DROPOUT_OPTIONS = {
    "DeepLabV3": "decoder_aspp_dropout",
    "DeepLabV3Plus": "decoder_aspp_dropout",
    "FPN": "decoder_dropout",
    "PSPNet": "psp_dropout",
    "pspnet": "dropout",
}
"""What a network calls the dropout of its decoder; the library silently swallows the option everywhere else."""

DEFAULT_RATES = {"deeplabv2": (6, 12, 18, 24), "DeepLabV3": (12, 24, 36), "DeepLabV3Plus": (12, 24, 36)}
"""Dilations of the atrous convolutions."""


DILATED = ("DeepLabV3", "DeepLabV3Plus", "PAN", "deeplabv2", "pspnet")
"""Architectures whose encoder ends at stride 8 or 16 and dilates its last stages."""

DILATED_ANEW = ("efficientnet-", "timm-skresnet", "tu-")
"""How encoders begin that once were dilated otherwise than the released networks are."""


class Normalization(NamedTuple):
    """Mean and standard deviation of red, green and blue in [0, 1], and the order of the channels."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    is_bgr: bool = False


NORMALIZATIONS = {
    "imagenet": Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cityscapes": Normalization((0.3257, 0.3690, 0.3223), (0.2112, 0.2148, 0.2115)),
    "inception": Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "caffe": Normalization((122.679 / 255, 116.669 / 255, 104.007 / 255), (1 / 255, 1 / 255, 1 / 255), is_bgr=True),
}
"""The families of pretrained weights: torchvision's, CoinCheung's for Cityscapes, that of many of timm's networks (as
Inception's), and Caffe's (BGR in 0…255)."""

TIMM = "timm"
"""The family of a ``tu-`` encoder whose mean and deviation are those of timm's own configuration of that model."""


def timm_normalization(encoder: str) -> Normalization:
    """Mean and deviation that timm's pretrained weights of ``encoder`` (``tu-NAME``) expect; imports timm."""
    import timm

    known = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
    return NORMALIZATIONS["imagenet"] if known is None else Normalization(tuple(known.mean), tuple(known.std))
