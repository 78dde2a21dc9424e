"""The API's messages and enums by its modules: `from object_detection.protos import pipeline_pb2`.

All of them are those of boxtune's one schema. The modules have no files of their own: they are made here, from the
table of what each holds, when this package is imported.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from boxtune.config import pipeline_pb2 as _schema

_MODULES = {
    "anchor_generator": "AnchorGenerator",
    "argmax_matcher": "ArgMaxMatcher",
    "bipartite_matcher": "BipartiteMatcher",
    "box_coder": "BoxCoder",
    "box_predictor": (
        "BoxPredictor ConvolutionalBoxPredictor MaskRCNNBoxPredictor RfcnBoxPredictor "
        "WeightSharedConvolutionalBoxPredictor"
    ),
    "calibration": (
        "CalibrationConfig ClassIdFunctionApproximations ClassIdSigmoidCalibrations "
        "FunctionApproximation SigmoidCalibration SigmoidParameters TemperatureScalingCalibration "
        "TrainingDataType XYPairs"
    ),
    "center_net": "CenterNet CenterNetFeatureExtractor",
    "eval": "CocoKeypointMetrics EvalConfig KeypointEdge ParameterizedMetric",
    "faster_rcnn": "AttentionPosition Context FasterRcnn FasterRcnnFeatureExtractor",
    "faster_rcnn_box_coder": "FasterRcnnBoxCoder",
    "flexible_grid_anchor_generator": "AnchorGrid FlexibleGridAnchorGenerator",
    "fpn": "BidirectionalFeaturePyramidNetworks FeaturePyramidNetworks",
    "graph_rewriter": "GraphRewriter Quantization",
    "grid_anchor_generator": "GridAnchorGenerator",
    "hyperparams": (
        "BatchNorm GroupNorm Hyperparams Initializer L1Regularizer L2Regularizer "
        "RandomNormalInitializer Regularizer TruncatedNormalInitializer VarianceScalingInitializer"
    ),
    "image_resizer": (
        "ConditionalShapeResizer FixedShapeResizer IdentityResizer ImageResizer "
        "KeepAspectRatioResizer PadToMultipleResizer ResizeType"
    ),
    "input_reader": "ExternalInputReader InputReader InputType InstanceMaskType TFRecordInputReader",
    "keypoint_box_coder": "KeypointBoxCoder",
    "losses": (
        "BootstrappedSigmoidClassificationLoss ClassificationLoss HardExampleMiner L1LocalizationLoss "
        "LocalizationLoss Loss PenaltyReducedLogisticFocalLoss RandomExampleSampler "
        "SigmoidFocalClassificationLoss WeightedDiceClassificationLoss WeightedGIOULocalizationLoss "
        "WeightedIOULocalizationLoss WeightedL2LocalizationLoss WeightedSigmoidClassificationLoss "
        "WeightedSmoothL1LocalizationLoss WeightedSoftmaxClassificationAgainstLogitsLoss "
        "WeightedSoftmaxClassificationLoss"
    ),
    "matcher": "Matcher",
    "mean_stddev_box_coder": "MeanStddevBoxCoder",
    "model": "DetectionModel ExperimentalModel",
    "multiscale_anchor_generator": "MultiscaleAnchorGenerator",
    "optimizer": (
        "AdamOptimizer ConstantLearningRate CosineDecayLearningRate ExponentialDecayLearningRate "
        "LearningRate ManualStepLearningRate MomentumOptimizer Optimizer RMSPropOptimizer"
    ),
    "pipeline": "TrainEvalPipelineConfig",
    "post_processing": "BatchNonMaxSuppression PostProcessing",
    "preprocessor": (
        "AdjustGamma AutoAugmentImage ConvertClassLogitsToSoftmax DropLabelProbabilistically "
        "NormalizeImage PreprocessingStep RGBtoGray RandomAbsolutePadImage RandomAdjustBrightness "
        "RandomAdjustContrast RandomAdjustHue RandomAdjustSaturation RandomBlackPatches "
        "RandomCropImage RandomCropPadImage RandomCropToAspectRatio RandomDistortColor "
        "RandomDownscaleToTargetPixels RandomHorizontalFlip RandomImageScale RandomJitterBoxes "
        "RandomJpegQuality RandomPadImage RandomPatchGaussian RandomPixelValueScale RandomRGBtoGray "
        "RandomResizeMethod RandomRotation90 RandomScaleCropAndPadToSquare RandomSelfConcatImage "
        "RandomSquareCropByScale RandomVerticalFlip RemapLabels ResizeImage SSDRandomCrop "
        "SSDRandomCropFixedAspectRatio SSDRandomCropFixedAspectRatioOperation SSDRandomCropOperation "
        "SSDRandomCropPad SSDRandomCropPadFixedAspectRatio SSDRandomCropPadFixedAspectRatioOperation "
        "SSDRandomCropPadOperation ScaleBoxesToPixelCoordinates SubtractChannelMean"
    ),
    "region_similarity_calculator": (
        "IoaSimilarity IouSimilarity NegSqDistSimilarity RegionSimilarityCalculator ThresholdedIouSimilarity"
    ),
    "square_box_coder": "SquareBoxCoder",
    "ssd": "Ssd SsdFeatureExtractor",
    "ssd_anchor_generator": "SsdAnchorGenerator",
    "string_int_label_map": "LVISFrequency StringIntLabelMap StringIntLabelMapItem",
    "target_assigner": "TargetAssigner",
    "train": "CheckpointVersion TrainConfig",
}


def _module(name: str, members: str) -> ModuleType:
    """Return a module of messages and enums, and of the enums' values, as protoc generates them."""
    module = ModuleType(name, f"Messages of the API's {name.rpartition('.')[2]}, which are those of boxtune.")
    module.__spec__ = ModuleSpec(name, loader=None)
    module.__package__ = __name__
    module.__dict__["DESCRIPTOR"] = _schema.DESCRIPTOR
    for member in members.split():
        value = getattr(_schema, member)
        module.__dict__[member] = value
        if isinstance(value, EnumTypeWrapper):
            module.__dict__.update(value.items())
    return module


for _name, _members in _MODULES.items():
    # Python looks there before it looks for files.
    sys.modules[f"{__name__}.{_name}_pb2"] = globals()[f"{_name}_pb2"] = _module(
        f"{__name__}.{_name}_pb2", _members
    )
