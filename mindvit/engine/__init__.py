"""Device and precision, loss, callbacks, and train / evaluate / predict around `mindspore.train.Model`."""

from mindvit.engine.callbacks import LossMonitor, ProgressBar, ValAccMonitor
from mindvit.engine.compile_cache import keep_graphs
from mindvit.engine.config import DataConfig, EvalJob, ModelConfig, PredictJob, PrepareConfig, TrainConfig, TrainJob
from mindvit.engine.device import build_model, use_device
from mindvit.engine.evaluate import evaluate
from mindvit.engine.loss import CrossEntropySmooth
from mindvit.engine.optim import AdamW
from mindvit.engine.predict import predict
from mindvit.engine.quickstart import quickstart
from mindvit.engine.train import learning_rates, train

__all__ = ["AdamW", "CrossEntropySmooth", "DataConfig", "EvalJob", "LossMonitor", "ModelConfig", "PredictJob",
           "PrepareConfig", "ProgressBar", "TrainConfig", "TrainJob", "ValAccMonitor", "build_model", "evaluate",
           "keep_graphs", "learning_rates", "predict", "quickstart", "train", "use_device"]
