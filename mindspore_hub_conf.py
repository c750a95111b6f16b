"""What MindSpore Hub looks for in a repository: the networks by name."""

from mindspore import nn

import mindvit


def create_network(name: str, *args, **kwargs) -> nn.Cell:
    """A variant by a name of `mindvit models`, with the arguments of its function, such as `mindvit.vit_b_16`.

    Raises:
        TypeError: the network has no such argument; digits takes them by name alone.
        NotImplementedError: there is no such name; the message lists them.
    """
    names = mindvit.list_models()
    if name not in names:
        raise NotImplementedError(f"{name} is not a network of mindvit; there are {', '.join(names)}")
    if name == "digits":  # which the Vision suite has no function for
        if args:
            raise TypeError(f"digits takes its arguments by name, as in num_classes={args[0]!r}")
        return mindvit.create_model(name, **kwargs)
    return getattr(mindvit, name)(*args, **kwargs)
