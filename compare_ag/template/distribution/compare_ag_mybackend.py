"""mybackend for compare-ag: replace the numpy in each method by your framework's own way, from top to bottom.

After each method run `compare-ag check mybackend`. What each one must do, in full, is the docstring of the same name in
`compare_ag.Backend`.
"""

import numpy as np
from compare_ag import Backend, Weights, hookimpl


class MyBackend(Backend):
    dtypes = ("float32", "float64")  # only those in which every operation is as accurate as the dtype

    def prepare(self, setting):
        # Once: choose the form of the loss and keep l2; set precision and threads; compile.
        # Refuse what you cannot do: the message becomes the reason in the table.
        if (setting.model, setting.device) != ("logistic", "cpu"):
            raise NotImplementedError(f"no {setting.model} model on {setting.device}")
        self.loss, self.l2 = setting.loss, setting.l2
        np.seterr(all="ignore")  # inf and nan are results, for compare-ag to judge

    def make_tensor(self, array, *, requires_grad=False):
        # numpy array -> a new tensor of the same dtype and shape. Always copy.
        # requires_grad is True for the weights: mark them as leaves here, if your framework does that.
        return np.array(array)

    def forward(self, weights, batch):
        # -> (loss, tape): the loss is a 0-d tensor cut off from any graph; the tape is what backward needs.
        # With automatic differentiation the tape is the graph, the pullback, or these inputs.
        z = batch.X @ weights.w + weights.b
        if self.loss == "logits":
            s = (1 - 2 * batch.y) * z
            decay = np.exp(-np.abs(s))  # at most 1, so that nothing overflows
            losses = np.maximum(s, 0) + np.log1p(decay)
            residual = (1 - 2 * batch.y) * np.where(s >= 0, 1, decay) / (1 + decay)
        else:
            p = 1 / (1 + np.exp(-z))
            losses = -batch.y * np.log(p) - (1 - batch.y) * np.log(1 - p)
            residual = p - batch.y
        loss = losses.mean() + self.l2 / 2 * (weights.w @ weights.w)
        return loss, (weights, batch, residual)

    def backward(self, tape):
        # -> the gradient as Weights(w, b), in the weights' shapes and dtype. Nothing may accumulate between calls.
        weights, batch, residual = tape
        n = len(residual)
        return Weights(residual @ batch.X / n + self.l2 * weights.w, residual.sum() / n)

    def update(self, weights, gradient, learning_rate):
        # -> weights - learning_rate * gradient, ready for the next forward. Both arguments are yours to write over.
        return Weights(*(value - learning_rate * slope for value, slope in zip(weights, gradient)))

    def to_numpy(self, tensor):
        # tensor -> numpy array of the same dtype and shape; b and the loss have shape ().
        return np.asarray(tensor)

    # A framework that computes later or elsewhere must wait here until these tensors exist:
    #     def synchronize(self, *tensors): ...
    # A framework that can fuse a whole step (a compiler) offers it here; the loss is the one before the update:
    #     def step(self, weights, batch, learning_rate): return loss, new_weights


@hookimpl
def compare_ag_backend():
    return MyBackend
