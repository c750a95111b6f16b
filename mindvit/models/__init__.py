"""The cells of the Vision Transformer and the table of its variants."""

from mindvit.kernels import GELU
from mindvit.models.layers import Attention, DropPath, FeedForward, PatchEmbedding, ResidualCell
from mindvit.models.variants import VARIANTS, find_variant, list_models
from mindvit.models.vit import Block, TransformerEncoder, ViT, check_arguments

__all__ = ["GELU", "VARIANTS", "Attention", "Block", "DropPath", "FeedForward", "PatchEmbedding", "ResidualCell",
           "TransformerEncoder", "ViT", "check_arguments", "find_variant", "list_models"]
