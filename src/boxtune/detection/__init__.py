"""Pure arithmetic of detection: boxes, anchors, box encodings, matching, losses, suppression.

Boxes are `[ymin, xmin, ymax, xmax]`, float32, normalised to [0, 1] unless a docstring says otherwise.
Shapes are spelled with b batch, n ground-truth boxes, a anchors, c classes, k kept detections.
"""
