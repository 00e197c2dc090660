"""The method in one file, without options: bilevel meta-training, adaptation, stylization.

    python scripts/minimal_metastyle.py     # half a minute on two cores; prints losses, writes minimal_metastyle.png

    minimize over theta   E_{c,s} [ L(c', s, M(c'; w_T)) ]                                outer loop, query contents c'
    where                 w_0 = theta
                          w_t = w_{t-1} - delta * grad L(c, s, M(c; w_{t-1}))             inner loop, support contents c

This is MAML (Finn et al. 2017) with styles as tasks (Zhang, Zhu, Zhu, "MetaStyle", AAAI 2019). The inner loop trains
the weights and biases of the instance norms alone; the outer loop trains all parameters, with gradients through the
inner steps. A new style then takes a hundred steps from theta. docs/method.md lists what the library adds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metastyle_hub.data.examples import example_contents, example_styles
from metastyle_hub.images.grid import image_grid
from metastyle_hub.images.io import load_image, to_tensor
from metastyle_hub.images.transforms import resize_short_side
from metastyle_hub.networks.feature_extractor import FeatureExtractor, load_feature_extractor
from metastyle_hub.networks.transformer_net import NetworkConfig, TransformerNet

Parameters = dict[str, Tensor]

SIZE, IMAGE_SIZE = 48, 128  # pixels: a side of all crops, the short side of all images
BATCH = 2  # contents per step
INNER_STEPS, INNER_LR = 1, 0.02  # T and delta
OUTER_STEPS, OUTER_LR = 60, 1e-3
ADAPTATION_STEPS, ADAPTATION_LR = 100, 0.05
STYLE_WEIGHT = 10.0
HELD_OUT_STYLE = "mosaic_sun"  # not in meta-training
FILE = "minimal_metastyle.png"

# ---- the loss (Gatys et al. 2016, Johnson et al. 2016); every term is relative to the energy of its target


def gram(features: Tensor) -> Tensor:
    """G(f) = psi(f) psi(f)^T / (C H W): which features occur together, wherever that is."""
    b, c, h, w = features.shape
    rows = features.reshape(b, c, h * w)  # (B, C, H W)
    return rows @ rows.mT / (c * h * w)  # (B, C, C)


def relative_distance(x: Tensor, target: Tensor) -> Tensor:
    """|x - t|^2 / |t|^2, mean over the batch; a target with a batch of 1 serves all."""
    return ((x - target).square().flatten(1).sum(1) / (target.square().flatten(1).sum(1) + 1e-8)).mean()


def perceptual_loss(phi: FeatureExtractor, images: Tensor, contents: Tensor, style: Tensor) -> Tensor:
    """Log L(c, s, x): (B, 3, H, W) images and contents, a style (1, 3, H, W), all in [0, 1] -> ().

    The logarithm makes every style count by its relative improvement; without it a few styles dominate theta.
    """
    x, c, s = phi(images), phi(contents), phi(style)  # feature maps by tap, (B, C_i, H_i, W_i)
    content_tap, taps = phi.spec.content_tap, phi.spec.style_taps
    content_term = relative_distance(x[content_tap], c[content_tap])
    style_term = sum(relative_distance(gram(x[tap]), gram(s[tap])) for tap in taps) / len(taps)
    return torch.log(content_term + STYLE_WEIGHT * style_term)


# ---- the method


def stylize(net: nn.Module, w: Parameters, contents: Tensor) -> Tensor:
    """M(c; w): (B, 3, H, W) in [0, 1] -> the same. The network is a pure function of its parameters."""
    return torch.sigmoid(functional_call(net, w, (contents,)))  # logits -> (B, 3, H, W)


def norms_of(w: Parameters) -> Parameters:
    """The weights and biases of the instance norms, 0.2% of the parameters of the full-size network."""
    return {name: p for name, p in w.items() if ".norm." in name}


def inner_loop(net: nn.Module, theta: Parameters, phi: FeatureExtractor, contents: Tensor, style: Tensor) -> Parameters:
    """T plain gradient steps on the norms. w_T is a differentiable function of theta."""
    w = dict(theta)
    for _ in range(INNER_STEPS):
        norms = norms_of(w)
        loss = perceptual_loss(phi, stylize(net, w, contents), contents, style)
        # create_graph keeps the graph of the gradient itself, so that the outer loop can differentiate through the step
        gradients = torch.autograd.grad(loss, list(norms.values()), create_graph=True)
        for (name, p), gradient in zip(norms.items(), gradients, strict=True):
            w[name] = p - INNER_LR * gradient  # out of place: theta stays as it is
    return w


def meta_loss(
    net: nn.Module, theta: Parameters, phi: FeatureExtractor, support: Tensor, query: Tensor, style: Tensor
) -> Tensor:
    """The outer objective for one style: the loss on query contents after adaptation on support contents."""
    w = inner_loop(net, theta, phi, support, style)
    return perceptual_loss(phi, stylize(net, w, query), query, style)


def meta_train(
    net: nn.Module, phi: FeatureExtractor, contents: Sequence[Tensor], styles: Sequence[Tensor], steps: int
) -> list[float]:
    """The outer loop: Adam on all parameters, one style per step. Trains `net` in place; returns the losses."""
    theta: Parameters = dict(net.named_parameters())
    optimizer = torch.optim.Adam(theta.values(), lr=OUTER_LR)
    losses = []
    for step in range(steps):
        support, query = crops(contents, 2 * BATCH).split(BATCH)  # (B, 3, SIZE, SIZE) each
        style = crops(styles, 1)  # (1, 3, SIZE, SIZE)
        loss = meta_loss(net, theta, phi, support, query, style)
        optimizer.zero_grad()
        loss.backward()  # second order: through the inner gradients
        optimizer.step()
        losses.append(loss.item())
        if step % 10 == 9:
            print(f"outer step {step + 1:3d}: log query loss {sum(losses[-10:]) / 10:.3f}")
    return losses


def adapt(
    net: nn.Module, theta: Parameters, phi: FeatureExtractor, contents: Sequence[Tensor], style: Tensor, steps: int
) -> tuple[Parameters, list[float]]:
    """Adaptation at deployment: Adam on the norms from theta, which stays as it is. Returns w and the losses."""
    w = {name: p.detach().clone() for name, p in theta.items()}
    norms = [p.requires_grad_() for p in norms_of(w).values()]
    optimizer = torch.optim.Adam(norms, lr=ADAPTATION_LR)
    losses = []
    for step in range(steps):
        batch = crops(contents, BATCH)  # (B, 3, SIZE, SIZE)
        loss = perceptual_loss(phi, stylize(net, w, batch), batch, style)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 10 == 9:
            print(f"adaptation step {step + 1:3d}: log loss {sum(losses[-10:]) / 10:.3f}")
    return {name: p.detach() for name, p in w.items()}, losses


# ---- data and the program


def crops(images: Sequence[Tensor], count: int) -> Tensor:
    """Random squares of random images: (count, 3, SIZE, SIZE)."""
    chosen = []
    for index in torch.randint(len(images), (count,)).tolist():
        _, height, width = images[index].shape
        top, left = (int(torch.randint(side - SIZE + 1, ())) for side in (height, width))
        chosen.append(images[index][:, top : top + SIZE, left : left + SIZE])
    return torch.stack(chosen)


def main() -> None:
    """Meta-train a small network, adapt it to a style that it has not seen, and draw the result."""
    torch.manual_seed(0)
    net = TransformerNet(NetworkConfig(width=16, residual_blocks=1))  # starts as the identity
    phi = load_feature_extractor("compact")
    contents, styles = (
        {name: resize_short_side(to_tensor(load_image(path)), IMAGE_SIZE)[0] for name, path in files.items()}
        for files in (example_contents(), example_styles())
    )  # (3, H, W) each
    held_out = styles.pop(HELD_OUT_STYLE)[None]  # (1, 3, H, W)
    meta_train(net, phi, list(contents.values()), list(styles.values()), OUTER_STEPS)
    theta = {name: p.detach() for name, p in net.named_parameters()}
    w, _ = adapt(net, theta, phi, list(contents.values()), held_out, ADAPTATION_STEPS)
    rows = []
    for image in contents.values():
        image = image[None, :, :IMAGE_SIZE, :IMAGE_SIZE]  # (1, 3, 128, 128)
        with torch.no_grad():
            rows.append([image[0], held_out[0], stylize(net, theta, image)[0], stylize(net, w, image)[0]])
    image_grid(rows, ["content", "style", "theta", "adapted"], tile=IMAGE_SIZE).save(FILE)
    print("image grid:", FILE)


if __name__ == "__main__":
    main()
