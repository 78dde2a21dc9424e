"""The similarity of boxes that a configuration describes."""

from boxtune.config import pipeline_pb2
from object_detection.builders.checked import SectionError, checked
from object_detection.core import region_similarity_calculator as similarities


def build(
    region_similarity_calculator_config: pipeline_pb2.RegionSimilarityCalculator,
) -> similarities.RegionSimilarityCalculator:
    """Return the similarity; raise SectionError if none is set."""
    checked(
        "region_similarity_calculator_config",
        region_similarity_calculator_config,
        pipeline_pb2.RegionSimilarityCalculator,
    )
    match region_similarity_calculator_config.WhichOneof("region_similarity"):
        case "iou_similarity":
            return similarities.IouSimilarity()
        case "ioa_similarity":
            return similarities.IoaSimilarity()
        case "neg_sq_dist_similarity":
            return similarities.NegSqDistSimilarity()
        case "thresholded_iou_similarity":
            threshold = region_similarity_calculator_config.thresholded_iou_similarity.iou_threshold
            return similarities.ThresholdedIouSimilarity(threshold)
    raise SectionError("Unknown region similarity calculator.")
