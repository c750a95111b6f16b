"""PyTorch's .pth, .pt and .bin."""

import pickle
import zipfile

from mindvit.checkpoints.formats.stored import StoredArray, listed


def read_pth(path):
    """PyTorch .pth, .pt or .bin, only with torch installed and only tensors (weights_only=True)."""
    try:
        import torch
    except ImportError:
        raise ValueError("reading it needs torch, which is not installed: pip install torch, "
                         "or convert the file to .safetensors") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError:  # whose own words advise to execute it
        raise ValueError("it holds more than arrays, such as a whole module, and is not executed; save "
                         "model.state_dict() instead") from None
    for key in ("model", "state_dict", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    arrays = {}
    for name, tensor in content.items() if isinstance(content, dict) else ():
        if isinstance(tensor, torch.Tensor):
            arrays[name] = StoredArray(tuple(tensor.shape), lambda tensor=tensor: (
                tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy())
    if not arrays and isinstance(content, dict):
        raise ValueError(f"it holds no arrays, but {listed(map(str, content))}; save model.state_dict() alone")
    return arrays
