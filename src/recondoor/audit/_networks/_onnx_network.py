"""An ONNX file as a network of PyTorch, for whoever asks it for f(z) and no more."""

from pathlib import Path

import torch
from torch import Tensor, nn

from recondoor.audit._networks._probe import GRADIENTS, LAYERS
from recondoor.io.confined import ConfinedNetwork

LACKS = {
    GRADIENTS: "it needs gradients, which an ONNX file has none of; give the weights as "
    "safetensors, or MODULE:FUNCTION",
    LAYERS: "it needs the network's layers, which an ONNX file does not show; give the weights as "
    "safetensors, or MODULE:FUNCTION",
}


class OnnxNetwork(nn.Module):
    """F(z) by a confined process (`recondoor.io.confined`); without parameters and gradients."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.confined = ConfinedNetwork(path)

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape, in float32 on the CPU; raises DataError."""
        return torch.from_numpy(self.confined(z.detach().cpu().float().numpy()))
