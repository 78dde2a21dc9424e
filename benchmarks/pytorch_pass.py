"""The forward and backward pass of a network like boxtune's in PyTorch, for comparing speed only.

The other sides: our own SSD MobileNet V2 FPNLite (`pytorch_ssd`), torchvision's RetinaNet of ResNet50 with batch
normalization in its heads and six anchors, and effdet's EfficientDet (`pip install torch torchvision effdet`).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from pytorch_ssd import Ssd, gather


def network_like(feature_extractor: str, num_scores: int, side: int) -> nn.Module:
    """Return the network that stands for a type of feature extractor, with so many scores for each anchor.

    It maps images [b, 3, side, side] to box encodings [b, a, 4] and logits [b, a, num_scores].

    Raises:
        SystemExit: if there is none for that type.
    """
    if feature_extractor == "ssd_mobilenet_v2_fpn_keras":
        return Ssd(num_scores)
    if feature_extractor == "ssd_resnet50_v1_fpn_keras":
        return RetinaNet(num_scores)
    if feature_extractor.startswith("ssd_efficientnet-b"):
        return EfficientDet(f"tf_efficientdet_d{feature_extractor[18]}", num_scores, side)
    raise SystemExit(f"There is no PyTorch model to compare {feature_extractor} with.")


class RetinaNet(nn.Module):
    """torchvision's, of ResNet50."""

    def __init__(self, num_scores: int):
        super().__init__()
        from torchvision.models.detection import backbone_utils
        from torchvision.models.detection.retinanet import RetinaNetHead
        from torchvision.ops.feature_pyramid_network import LastLevelP6P7

        self.features = backbone_utils.resnet_fpn_backbone(
            backbone_name="resnet50", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5,
            returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256),
        )  # fmt: skip
        self.head = RetinaNetHead(256, 6, num_scores, norm_layer=nn.BatchNorm2d)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the box encodings and the logits of every anchor."""
        found = self.head(list(self.features(images).values()))
        return found["bbox_regression"], found["cls_logits"]


class EfficientDet(nn.Module):
    """effdet's."""

    def __init__(self, name: str, num_scores: int, side: int):
        super().__init__()
        import effdet

        config = effdet.get_efficientdet_config(name)
        config.num_classes, config.image_size = num_scores, [side, side]
        self.network = effdet.EfficientDet(config, pretrained_backbone=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the box encodings and the logits of every anchor."""
        logits, encodings = self.network(images)
        return gather(encodings, 4), gather(logits, self.network.config.num_classes)


def bare_pass(network: nn.Module, batch_size: int, side: int) -> Callable[[], float]:
    """Return a function that makes one forward and backward pass of a network on one batch, channels last.

    The loss is the stock one, focal and smooth L1, over targets that are made beforehand: boxtune matches its anchors
    within the pass, PyTorch gets that for nothing here.
    """
    torch.manual_seed(0)
    network.to(memory_format=torch.channels_last).train()
    images = torch.rand(batch_size, 3, side, side).mul(2).sub(1).to(memory_format=torch.channels_last)
    with torch.no_grad():
        encodings, logits = network(images)
    positive = torch.rand(logits.shape[:2]) < 0.003
    code_targets = torch.randn_like(encodings)
    class_targets = torch.zeros_like(logits)
    class_targets[..., 1] = positive.float()

    def one_pass() -> float:
        network.zero_grad(set_to_none=True)
        encodings, logits = network(images)
        loss = _focal(logits, class_targets) + _smooth_l1(encodings, code_targets, positive)
        (loss / positive.sum()).backward()
        return float(loss.detach())

    return one_pass


def _focal(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = torch.sigmoid(logits)
    missing = torch.where(targets > 0, 1 - probability, probability)
    return (torch.where(targets > 0, alpha, 1 - alpha) * missing**gamma * entropy).sum()


def _smooth_l1(encodings: Tensor, targets: Tensor, positive: Tensor) -> Tensor:
    each = functional.smooth_l1_loss(encodings, targets, reduction="none").sum(-1)
    return (each * positive).sum()
