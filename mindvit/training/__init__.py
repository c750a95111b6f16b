"""From a TrainJob to a run folder, and its parts: loss, optimizer, schedule, metrics, callbacks."""
