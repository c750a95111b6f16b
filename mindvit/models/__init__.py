"""The cells of the Vision Transformer, the table of variants and the factories made from it."""

from mindvit.models.kernels import GELU
from mindvit.models.variants import FACTORIES, VARIANTS, create_model, find_variant, list_models, model_arguments
from mindvit.models.vit import (
    Attention,
    DropPath,
    FeedForward,
    PatchEmbedding,
    ResidualCell,
    TransformerEncoder,
    ViT,
)

globals().update(FACTORIES)
__all__ = ["GELU", "VARIANTS", "Attention", "DropPath", "FeedForward",
           "PatchEmbedding", "ResidualCell", "TransformerEncoder", "ViT", "create_model",
           "find_variant", "list_models", "model_arguments", *FACTORIES]
