"""The ops. Importing this package registers every one of them with PyTorch as ``torch.ops.genfast.<op>``."""

from genfast.ops import _template  # noqa: F401  (what a new op is copied from)
from genfast.ops import adam as _adam  # noqa: F401  (registers the op)
from genfast.ops import bias_act_gradient as _bias_act_gradient  # noqa: F401  (registers the op)
from genfast.ops import gaussian_kl_gradient as _gaussian_kl_gradient  # noqa: F401  (registers the op)
from genfast.ops._conv.weights import forget_packed
from genfast.ops.add_noise import add_noise
from genfast.ops.attention import attention
from genfast.ops.bias_act import bias_act
from genfast.ops.conv2d_act import conv2d_act
from genfast.ops.conv_transpose2d_act import conv_transpose2d_act
from genfast.ops.diffusion_loss import diffusion_loss, loss_weight
from genfast.ops.gan_loss import GanLoss, gan_loss
from genfast.ops.gaussian_kl import GaussianKL, gaussian_kl
from genfast.ops.gradient_penalty import gradient_penalty
from genfast.ops.group_norm_act import group_norm_act
from genfast.ops.linear_act import linear_act
from genfast.ops.normal_noise import normal_noise
from genfast.ops.reconstruction_loss import reconstruction_loss
from genfast.ops.sampler_step import StepOutput, sampler_step
from genfast.ops.uniform_noise import uniform_noise

__all__ = [
    "GanLoss",
    "GaussianKL",
    "StepOutput",
    "add_noise",
    "attention",
    "bias_act",
    "conv2d_act",
    "conv_transpose2d_act",
    "diffusion_loss",
    "forget_packed",
    "gan_loss",
    "gaussian_kl",
    "gradient_penalty",
    "group_norm_act",
    "linear_act",
    "loss_weight",
    "normal_noise",
    "reconstruction_loss",
    "sampler_step",
    "uniform_noise",
]
