"""SSD MobileNet V2 FPNLite in PyTorch, as wide and as deep as boxtune's stock model, for comparing speed only.

Channels last, which is PyTorch's fastest layout for convolutions on a CPU. It pads both sides where TensorFlow's "same"
pads one more behind: the arithmetic per step is the same, the outputs are not meant to be.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# Expansion, output filters, blocks and first stride of each stage: Sandler et al. 2018, table 2.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
DEPTH, NUM_LEVELS, TOWER_LAYERS, ANCHORS = 128, 5, 4, 6


def _normalized(*layers: nn.Module, filters: int, activate: bool = True) -> nn.Sequential:
    activation = [nn.ReLU6(inplace=True)] if activate else []
    return nn.Sequential(*layers, nn.BatchNorm2d(filters, eps=1e-3, momentum=0.003), *activation)


def _depthwise(filters: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(filters, filters, 3, stride, 1, groups=filters, bias=False)


def _separable(filters: int, out: int, stride: int = 1, bias: bool = False) -> nn.Sequential:
    return nn.Sequential(_depthwise(filters, stride), nn.Conv2d(filters, out, 1, bias=bias))


class Block(nn.Module):
    """An inverted residual: widened, filtered channel by channel, and narrowed again."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int):
        super().__init__()
        wide = inputs * expansion
        self.expand = (
            _normalized(nn.Conv2d(inputs, wide, 1, bias=False), filters=wide)
            if expansion > 1
            else nn.Identity()
        )
        self.filter = _normalized(_depthwise(wide, stride), filters=wide)
        self.project = _normalized(nn.Conv2d(wide, outputs, 1, bias=False), filters=outputs, activate=False)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        projected = self.project(self.filter(self.expand(x)))
        return x + projected if self.has_shortcut else projected


class Ssd(nn.Module):
    """The network: images [b, 3, h, w] in [-1, 1] to box encodings [b, a, 4] and logits [b, a, c + 1]."""

    def __init__(self, num_scores: int):
        super().__init__()
        self.num_scores = num_scores
        self.stem = _normalized(nn.Conv2d(3, 32, 3, 2, 1, bias=False), filters=32)
        self.blocks = nn.ModuleList()
        depth = 32
        for expansion, filters, repeats, stride in STAGES:
            for repeat in range(repeats):
                self.blocks.append(Block(depth, filters, expansion, stride if repeat == 0 else 1))
                depth = filters
        self.last = _normalized(nn.Conv2d(depth, 1280, 1, bias=False), filters=1280)
        # Levels 3 and 4 are the finest maps of block 5 and 12, level 5 is the last layer.
        self.laterals = nn.ModuleList(nn.Conv2d(filters, DEPTH, 1) for filters in (32, 96, 1280))
        self.smooth = nn.ModuleList(_normalized(_separable(DEPTH, DEPTH), filters=DEPTH) for _ in range(2))
        self.coarser = nn.ModuleList(
            _normalized(_separable(DEPTH, DEPTH, stride=2), filters=DEPTH) for _ in range(2)
        )
        self.tower = nn.ModuleList(_separable(DEPTH, DEPTH) for _ in range(TOWER_LAYERS))
        self.tower_norms = nn.ModuleList(
            nn.ModuleList(_normalized(filters=DEPTH) for _ in range(NUM_LEVELS)) for _ in range(TOWER_LAYERS)
        )
        self.box_head = _separable(DEPTH, ANCHORS * 4, bias=True)
        self.class_head = _separable(DEPTH, ANCHORS * self.num_scores, bias=True)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the box encodings and the logits of every anchor."""
        maps = self._pyramid(*self._backbone(images))
        for convolution, norms in zip(self.tower, self.tower_norms, strict=True):
            maps = [norm(convolution(x)) for x, norm in zip(maps, norms, strict=True)]
        encodings, logits = ([head(x) for x in maps] for head in (self.box_head, self.class_head))
        return gather(encodings, 4), gather(logits, self.num_scores)

    def _backbone(self, images: Tensor) -> list[Tensor]:
        x = self.stem(images)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return [outputs[5], outputs[12], self.last(x)]

    def _pyramid(self, *features: Tensor) -> list[Tensor]:
        top = self.laterals[2](features[2])
        pyramid = [top]
        for index in (1, 0):
            larger = functional.interpolate(top, scale_factor=2.0, mode="nearest")
            top = self.smooth[index](larger + self.laterals[index](features[index]))
            pyramid.insert(0, top)
        for level in self.coarser:
            pyramid.append(level(pyramid[-1]))
        return pyramid


def gather(maps: Sequence[Tensor], size: int) -> Tensor:
    """Return what maps [b, n * size, h, w] say of every anchor: [b, a, size]."""
    return torch.cat([x.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, size)) for x in maps], dim=1)
