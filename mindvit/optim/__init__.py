"""How weights move: optimizers, their groups of parameters, and the learning rate of each step."""
