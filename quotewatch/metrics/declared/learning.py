"""What those record who label, train and predict."""

from quotewatch.metrics.declared.buckets import MODEL, TRAIN
from quotewatch.metrics.metric import Metric, Owners

_BITS = frozenset({"0", "1"})
_LABEL: Owners = {"label": {}}
_TRAIN: Owners = {"train": {}}
_PREDICT: Owners = {"predict": {}}

LEARNING = (
    Metric("labeler_buffer_size", "gauge", "1",
           "Features rows the newest call looked at and whose future is not certain yet.", _LABEL),
    Metric("labeler_buffer_capacity", "gauge", "1",
           "How many rows a call looks at together, for each horizon.", _LABEL),
    Metric("ml_samples_total", "counter", "1",
           "Rows labelled, by label.", {"label": {"label": _BITS}}),
    Metric("ml_predict_duration_seconds", "histogram", "s",
           "From a features frame to its predictions frame, both encoded.", _PREDICT,
           buckets=MODEL),
    Metric("ml_predictions_total", "counter", "1",
           "Answers given, by prediction.", {"predict": {"prediction": _BITS}}),
    Metric("ml_train_duration_seconds", "histogram", "s",
           "Learning one batch of labels, scoring included.", _TRAIN, buckets=TRAIN),
)  # fmt: skip
