"""The matcher that a configuration describes."""

from boxtune.config import pipeline_pb2
from object_detection.builders.checked import SectionError, checked
from object_detection.core.matcher import Matcher
from object_detection.matchers.argmax_matcher import ArgMaxMatcher


def build(matcher_config: pipeline_pb2.Matcher) -> Matcher:
    """Return the matcher; raise SectionError if none is set, or one of TensorFlow 1."""
    checked("matcher_config", matcher_config, pipeline_pb2.Matcher)
    match matcher_config.WhichOneof("matcher_oneof"):
        case "argmax_matcher":
            one = matcher_config.argmax_matcher
            return ArgMaxMatcher(
                matched_threshold=None if one.ignore_thresholds else one.matched_threshold,
                unmatched_threshold=None if one.ignore_thresholds else one.unmatched_threshold,
                negatives_lower_than_unmatched=one.negatives_lower_than_unmatched,
                force_match_for_each_row=one.force_match_for_each_row,
                use_matmul_gather=one.use_matmul_gather,
            )
        case "bipartite_matcher":
            raise SectionError("bipartite_matcher is not supported in TensorFlow 2; set argmax_matcher.")
    raise SectionError("Empty matcher.")
