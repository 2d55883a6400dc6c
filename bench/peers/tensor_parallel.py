"""Tensor parallelism for the peer's GPT: Megatron's conjugate mappings, linear layers cut in parts, the cross entropy of cut logits."""
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F


class CopyTo(torch.autograd.Function):
    """Identity forward, all-reduce backward."""

    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, grad):
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad


class ReduceFrom(torch.autograd.Function):
    """All-reduce forward, identity backward."""

    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, grad):
        return grad


class ColumnParallelLinear(nn.Linear):
    """Each rank computes some of the outputs."""

    def forward(self, x):
        return F.linear(CopyTo.apply(x), self.weight, self.bias)


class RowParallelLinear(nn.Linear):
    """Each rank holds some of the inputs."""

    def forward(self, x):
        return ReduceFrom.apply(F.linear(x, self.weight)) + self.bias


class VocabParallelCrossEntropy(torch.autograd.Function):
    """Mean over tokens, for logits [tokens, v / t] and targets [tokens]."""

    @staticmethod
    def forward(ctx, logits, targets, rank):
        columns = logits.shape[1]
        maximum = logits.max(-1).values
        dist.all_reduce(maximum, op=dist.ReduceOp.MAX)
        own = targets - rank * columns
        elsewhere = (own < 0) | (own >= columns)
        own = own.masked_fill(elsewhere, 0)
        exponentials = (logits - maximum[:, None]).exp_()
        predicted = (logits.gather(1, own[:, None]).squeeze(1) - maximum).masked_fill(elsewhere, 0.0)
        sums = torch.stack([exponentials.sum(-1), predicted])
        dist.all_reduce(sums)
        ctx.save_for_backward(exponentials.div_(sums[0][:, None]), own, elsewhere)
        return (sums[0].log() - sums[1]).mean()

    @staticmethod
    def backward(ctx, grad):
        softmax, own, elsewhere = ctx.saved_tensors
        softmax.scatter_add_(1, own[:, None], -(~elsewhere)[:, None].to(softmax.dtype))
        return softmax.mul_(grad / softmax.shape[0]), None, None


def embed(tokens, words, rank):
    """Rows of a table that is cut over the ranks."""
    rows = words.shape[0]
    own = tokens - rank * rows
    elsewhere = (own < 0) | (own >= rows)
    found = F.embedding(own.masked_fill(elsewhere, 0), words)
    return ReduceFrom.apply(found.masked_fill(elsewhere[..., None], 0.0))
