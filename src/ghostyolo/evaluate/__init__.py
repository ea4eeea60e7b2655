"""How good a detector is: metrics, curves, the confusion matrix, pictures.

COCO's metrics. No torch.
"""

from ghostyolo.evaluate.coco import ClassMetrics, CocoEvaluator, Metrics
from ghostyolo.evaluate.detections import ImageDetections
from ghostyolo.evaluate.evaluation import EvaluationResult, evaluate

__all__ = ["ClassMetrics", "CocoEvaluator", "EvaluationResult", "ImageDetections", "Metrics", "evaluate"]
