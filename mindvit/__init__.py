"""mindvit: the Vision Transformer of the MindSpore Vision suite on today's MindSpore."""

import signal as _signal

# The threads that numpy and MindSpore start inherit this mask, so that Ctrl-C and SIGTERM reach the main thread, where
# `mindvit.runtime.signals` tells one from the other; here they wait until the imports are done.
_mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGINT, _signal.SIGTERM))
try:
    import numpy as _numpy

    if int(_numpy.__version__.split(".")[0]) >= 2:
        raise ImportError(f"numpy {_numpy.__version__} is installed, with which MindSpore's PyNative kernels fail; "
                          "install an older one: pip install 'numpy<2'")

    from mindvit.attention.capture import (
        Evidence,
        Explainer,
        attention_maps,
    )
    from mindvit.attention.faithfulness import (
        Faithfulness,
        faithfulness,
    )
    from mindvit.attention.measures import (
        attention_distances,
        patch_filters,
        position_similarity,
    )
    from mindvit.attention.methods import (
        head_maps,
        saliency_map,
    )
    from mindvit.checkpoints import (
        LoadReport,
        convert_weights,
        from_checkpoint,
        load_weights,
        read_checkpoint,
        save_weights,
    )
    from mindvit.config import (
        AttentionJob,
        DataConfig,
        EvalJob,
        ExportJob,
        ModelConfig,
        PredictJob,
        PrepareConfig,
        ShowBatchJob,
        TrainConfig,
        TrainJob,
    )
    from mindvit.data import (
        Cifar10,
        Cifar100,
        DatasetGenerator,
        ImageFolder,
        ImageNet,
        Mnist,
        eval_transform,
        infer_transform,
        list_images,
        open_dataset,
        open_rgb,
        predict_transform,
        prepare_image,
        read_dataset,
        read_image,
        train_transform,
        write_digits,
    )
    from mindvit.device import (
        build_model,
        use_device,
    )
    from mindvit.download import (
        DownLoad,
        DownloadError,
        download_file,
        download_imagenet_subset,
        extract_archive,
    )
    from mindvit.exporting.export import (
        export,
    )
    from mindvit.flags import (
        from_flags,
    )
    from mindvit.imagenet import (
        imagenet_classes,
        index2label,
    )
    from mindvit.inference.evaluation import (
        evaluate,
    )
    from mindvit.inference.overlays import (
        draw_attention,
    )
    from mindvit.inference.prediction import (
        predict,
    )
    from mindvit.models import (
        GELU,
        VARIANTS,
        Attention,
        Block,
        DropPath,
        FeedForward,
        PatchEmbedding,
        ResidualCell,
        TransformerEncoder,
        ViT,
        find_variant,
        list_models,
    )
    from mindvit.optim.optimizers import (
        LAMB,
        AdamW,
        Lion,
    )
    from mindvit.optim.schedule import (
        learning_rates,
    )
    from mindvit.preprocessing import (
        IMAGENET_MEAN,
        IMAGENET_STD,
        Preprocessing,
    )
    from mindvit.summary import (
        summarize,
    )
    from mindvit.tour import (
        quickstart,
    )
    from mindvit.training.callbacks import (
        LossMonitor,
        ProgressBar,
        ValAccMonitor,
    )
    from mindvit.training.loop import (
        show_batch,
        train,
    )
    from mindvit.training.loss import (
        CrossEntropySmooth,
    )
    from mindvit.visualize import (
        overlay,
        plot_curves,
        save_batch,
        save_confusion,
        save_curves,
        save_figure7,
        show_result,
    )
    from mindvit.zoo import (
        create_model,
        deit_b_16,
        deit_b_16_distilled,
        deit_s_16,
        deit_s_16_distilled,
        deit_t_16,
        deit_t_16_distilled,
        fetch_public_weights,
        model_arguments,
        vit_b_16,
        vit_b_32,
        vit_h_14,
        vit_l_16,
        vit_l_32,
        vit_s_16,
        vit_s_32,
        vit_t_16,
    )
finally:
    _signal.pthread_sigmask(_signal.SIG_SETMASK, _mask)

__version__ = "0.1.0"
__all__ = [
    "GELU",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "LAMB",
    "VARIANTS",
    "AdamW",
    "Attention",
    "AttentionJob",
    "Block",
    "Cifar10",
    "Cifar100",
    "CrossEntropySmooth",
    "DataConfig",
    "DatasetGenerator",
    "DownLoad",
    "DownloadError",
    "DropPath",
    "EvalJob",
    "Evidence",
    "Explainer",
    "ExportJob",
    "Faithfulness",
    "FeedForward",
    "ImageFolder",
    "ImageNet",
    "Lion",
    "LoadReport",
    "LossMonitor",
    "Mnist",
    "ModelConfig",
    "PatchEmbedding",
    "PredictJob",
    "PrepareConfig",
    "Preprocessing",
    "ProgressBar",
    "ResidualCell",
    "ShowBatchJob",
    "TrainConfig",
    "TrainJob",
    "TransformerEncoder",
    "ValAccMonitor",
    "ViT",
    "attention_distances",
    "attention_maps",
    "build_model",
    "convert_weights",
    "create_model",
    "deit_b_16",
    "deit_b_16_distilled",
    "deit_s_16",
    "deit_s_16_distilled",
    "deit_t_16",
    "deit_t_16_distilled",
    "download_file",
    "download_imagenet_subset",
    "draw_attention",
    "eval_transform",
    "evaluate",
    "export",
    "extract_archive",
    "faithfulness",
    "fetch_public_weights",
    "find_variant",
    "from_checkpoint",
    "from_flags",
    "head_maps",
    "imagenet_classes",
    "index2label",
    "infer_transform",
    "learning_rates",
    "list_images",
    "list_models",
    "load_weights",
    "model_arguments",
    "open_dataset",
    "open_rgb",
    "overlay",
    "patch_filters",
    "plot_curves",
    "position_similarity",
    "predict",
    "predict_transform",
    "prepare_image",
    "quickstart",
    "read_checkpoint",
    "read_dataset",
    "read_image",
    "saliency_map",
    "save_batch",
    "save_confusion",
    "save_curves",
    "save_figure7",
    "save_weights",
    "show_batch",
    "show_result",
    "summarize",
    "train",
    "train_transform",
    "use_device",
    "vit_b_16",
    "vit_b_32",
    "vit_h_14",
    "vit_l_16",
    "vit_l_32",
    "vit_s_16",
    "vit_s_32",
    "vit_t_16",
    "write_digits",
]
