"""The losses that a configuration describes."""

from typing import Any

from boxtune.config import pipeline_pb2
from object_detection.builders.checked import SectionError, checked
from object_detection.core import balanced_positive_negative_sampler, losses

Sampler = balanced_positive_negative_sampler.BalancedPositiveNegativeSampler


def build(loss_config: pipeline_pb2.Loss) -> tuple[Any, ...]:
    """Return the losses of a section.

    Returns:
        The classification loss, the localization loss, the weight of each, the miner of hard examples or None, the
        sampler of examples or None, and None in place of the function of `expected_loss_weights`.

    Raises:
        SectionError: for a loss that is not set, a miner besides a sampler, and `expected_loss_weights`.
    """
    checked("loss_config", loss_config, pipeline_pb2.Loss)
    classification_loss = _classification_loss(loss_config.classification_loss)
    localization_loss = _localization_loss(loss_config.localization_loss)
    classification_weight = loss_config.classification_weight
    localization_weight = loss_config.localization_weight
    miner = None
    if loss_config.HasField("hard_example_miner"):
        if isinstance(classification_loss, losses.SigmoidFocalClassificationLoss):
            raise SectionError("HardExampleMiner should not be used with the sigmoid focal loss.")
        miner = build_hard_example_miner(
            loss_config.hard_example_miner, classification_weight, localization_weight
        )
    if loss_config.expected_loss_weights != loss_config.NONE:
        raise SectionError("expected_loss_weights is not supported; leave it out, or set it to NONE.")
    sampler = None
    if loss_config.HasField("random_example_sampler"):
        if miner:
            raise SectionError("RandomExampleSampler should not be used with HardExampleMiner.")
        sampler = Sampler(loss_config.random_example_sampler.positive_sample_fraction)
    return (
        classification_loss,
        localization_loss,
        classification_weight,
        localization_weight,
        miner,
        sampler,
        None,
    )


def build_hard_example_miner(
    config: pipeline_pb2.HardExampleMiner, classification_weight: float, localization_weight: float
) -> losses.HardExampleMiner:
    """Return the miner of hard examples."""
    loss_type = {config.BOTH: "both", config.CLASSIFICATION: "cls", config.LOCALIZATION: "loc"}
    return losses.HardExampleMiner(
        num_hard_examples=config.num_hard_examples if config.num_hard_examples > 0 else None,
        iou_threshold=config.iou_threshold,
        loss_type=loss_type[config.loss_type],
        cls_loss_weight=classification_weight,
        loc_loss_weight=localization_weight,
        max_negatives_per_positive=config.max_negatives_per_positive or None,
        min_negatives_per_image=config.min_negatives_per_image,
    )


def build_faster_rcnn_classification_loss(loss_config: pipeline_pb2.ClassificationLoss) -> losses.Loss:
    """Return the classification loss of a second stage, softmax by default."""
    checked("loss_config", loss_config, pipeline_pb2.ClassificationLoss)
    if loss_config.WhichOneof("classification_loss") is None:
        return losses.WeightedSoftmaxClassificationLoss()
    return _classification_loss(loss_config)


def _classification_loss(section: pipeline_pb2.ClassificationLoss) -> losses.Loss:
    kind = section.WhichOneof("classification_loss")
    config: Any = getattr(section, kind) if kind else None
    match kind:
        case "weighted_sigmoid":
            return losses.WeightedSigmoidClassificationLoss()
        case "weighted_sigmoid_focal":
            alpha = config.alpha if config.HasField("alpha") else None
            return losses.SigmoidFocalClassificationLoss(config.gamma, alpha)
        case "weighted_softmax":
            return losses.WeightedSoftmaxClassificationLoss(config.logit_scale)
        case "weighted_logits_softmax":
            return losses.WeightedSoftmaxClassificationAgainstLogitsLoss(config.logit_scale)
        case "bootstrapped_sigmoid":
            kind = "hard" if config.hard_bootstrap else "soft"
            return losses.BootstrappedSigmoidClassificationLoss(config.alpha, kind)
        case "penalty_reduced_logistic_focal_loss":
            return losses.PenaltyReducedLogisticFocalLoss(config.alpha, config.beta)
        case "weighted_dice_classification_loss":
            return losses.WeightedDiceClassificationLoss(config.squared_normalization)
    raise SectionError("Empty loss config: set classification_loss, such as weighted_sigmoid {}.")


def _localization_loss(section: pipeline_pb2.LocalizationLoss) -> losses.Loss:
    match section.WhichOneof("localization_loss"):
        case "weighted_l2":
            return losses.WeightedL2LocalizationLoss()
        case "weighted_smooth_l1":
            return losses.WeightedSmoothL1LocalizationLoss(section.weighted_smooth_l1.delta)
        case "weighted_iou":
            return losses.WeightedIOULocalizationLoss()
        case "weighted_giou":
            return losses.WeightedGIOULocalizationLoss()
        case "l1_localization_loss":
            return losses.L1LocalizationLoss()
    raise SectionError("Empty loss config: set localization_loss, such as weighted_smooth_l1 {}.")
