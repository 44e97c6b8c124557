"""tiny-cuda-nn's Python module as its source describes it, computed on the processor.

Written from its bindings (bindings/torch/tinycudann/modules.py) and headers (encodings/grid.h, identity.h,
fully_fused_mlp.cu), not from our backends: flat parameters level by level, batches padded to 256, parameters
cast to half, gradients scaled by 128 on the way back, networks whose widths are padded to 16 and whose padded
inputs are one.
"""

import math

import torch

GRANULARITY = 256
LOSS_SCALE = 128.0
CALLS = []  # sizes of the batches that were computed


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.factor, None


class Module(torch.nn.Module):
    def __init__(self, n_params, dtype, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype
        self.params = torch.nn.Parameter((torch.rand(n_params, generator=generator) * 2 - 1) * 1e-4)
        self.loss_scale = LOSS_SCALE if dtype == torch.half else 1.0

    def forward(self, x):
        batch = x.shape[0]
        padded = -(-batch // GRANULARITY) * GRANULARITY
        CALLS.append(padded)
        x = torch.nn.functional.pad(x, [0, 0, 0, padded - batch])
        parameters = self.params.to(self.dtype).contiguous()
        x, parameters = (_Scaled.apply(t, 1 / self.loss_scale) for t in (x.float().contiguous(), parameters))
        output = self.compute(x, parameters)
        if output.shape[0] != padded or output.dtype != self.dtype:
            raise AssertionError("not what the library gives back")
        return _Scaled.apply(output, self.loss_scale)[:batch, : self.n_output_dims]


class Encoding(Module):
    def __init__(self, n_input_dims, encoding_config, seed=1337, dtype=None):
        config = encoding_config
        if n_input_dims != 3 or config["otype"] != "HashGrid" or config["interpolation"] != "Linear":
            raise NotImplementedError(str(config))
        self.features = config["n_features_per_level"]
        if self.features not in (1, 2, 4, 8):
            raise RuntimeError("GridEncoding: n_features_per_level must be 1, 2, 4, or 8.")
        self.n_output_dims = config["n_levels"] * self.features
        self.levels, offset = [], 0
        for level in range(config["n_levels"]):
            growth = torch.tensor(math.log2(config["per_level_scale"]), dtype=torch.float32)
            scale = torch.exp2(level * growth) * config["base_resolution"] - 1.0
            resolution = int(torch.ceil(scale)) + 1
            entries = min(-(-(resolution**3) // 8) * 8, 1 << config["log2_hashmap_size"])
            self.levels.append((float(scale), resolution, entries, offset))
            offset += entries
        super().__init__(offset * self.features, dtype or torch.half, seed)

    def compute(self, x, parameters):
        table, outputs = parameters.view(-1, self.features), []
        for scale, resolution, entries, offset in self.levels:
            position = torch.addcmul(torch.tensor(0.5).double(), x.double(), torch.tensor(scale).double())
            position = position.float()
            cell = position.detach().floor()
            share = position - cell
            total = 0
            for x1 in (0, 1):
                for y1 in (0, 1):
                    for z1 in (0, 1):
                        corner = torch.tensor([x1, y1, z1])
                        weight = torch.where(corner.bool(), share, 1 - share).prod(-1, keepdim=True)
                        total = total + weight * table[offset + self.index(cell, corner, resolution, entries)]
            outputs.append(total)
        return torch.cat(outputs, -1).to(self.dtype)

    @staticmethod
    def index(cell, corner, resolution, entries):
        grid = cell.long() + corner
        stride, index = 1, 0
        for axis in range(3):
            index = index + grid[:, axis] * stride
            stride *= resolution
        if entries < stride:
            index = grid[:, 0] ^ (grid[:, 1] * 2654435761 % 2**32) ^ (grid[:, 2] * 805459861 % 2**32)
        return index % entries


class Network(Module):
    def __init__(self, n_input_dims, n_output_dims, network_config, seed=1337):
        config = network_config
        if config["otype"] != "FullyFusedMLP" or config["n_neurons"] not in (16, 32, 64, 128):
            raise RuntimeError("FullyFusedMLP only supports 16, 32, 64, and 128 neurons")
        if config["n_hidden_layers"] < 1 or (config["activation"], config["output_activation"]) != (
            "ReLU",
            "None",
        ):
            raise NotImplementedError(str(config))
        self.n_input_dims, self.n_output_dims = n_input_dims, n_output_dims
        up = lambda n: -(-n // 16) * 16  # noqa: E731
        width = config["n_neurons"]
        self.shapes = [(width, up(n_input_dims)), *[(width, width)] * (config["n_hidden_layers"] - 1)]
        self.shapes.append((up(n_output_dims), width))
        super().__init__(sum(a * b for a, b in self.shapes), torch.half, seed)

    def compute(self, x, parameters):
        pad = self.shapes[0][1] - x.shape[1]
        x = torch.cat([x, x.new_ones(len(x), pad)], 1).half()
        for k, (shape, part) in enumerate(
            zip(self.shapes, parameters.split([a * b for a, b in self.shapes]), strict=True)
        ):
            x = (x.float() @ part.view(shape).float().T).half()  # float16 numbers, float32 sums
            x = x.relu() if k + 1 < len(self.shapes) else x
        return x
