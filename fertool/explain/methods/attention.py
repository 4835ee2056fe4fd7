"""Maps from a vision transformer's attention: rollout, self-attention, all blocks', gradient-weighted attention.

A_l (B, heads, T, T) is the attention of block l, a row a query, rows adding up to 1. Tokens are the prefix
(class token, registers) and the patches; the map is read from the class token's row, or, where the head does
not read a class token but pools the patches, from the mean over the patches' rows. Columns of the prefix are
left out of the map: what flows through class token and registers has no place in the picture. Maps lie on the
patch grid, float32. Every block of every view has such attention: a model without is never asked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from fertool.errors import UserError
from fertool.explain.branches import join_views
from fertool.explain.explainer import ChooseClasses, ExplainBatch, Explainer, Explanation, Option
from fertool.explain.hooks import attention_seen
from fertool.explain.methods.cams import each_class_gradients
from fertool.models.classifier import FaceClassifier, TokenGrid, View
from fertool.models.frozen_eval import frozen_eval


def rollout(
    model: FaceClassifier,
    pixels: Tensor,
    choose: ChooseClasses,
    fusion: str = "mean",
    discard: float = 0.0,
    residual: float = 0.5,
) -> Explanation:
    """Attention rollout: attention multiplied through the blocks, with the residual connections.

        R = A'_L ... A'_2 A'_1        A'_l = (1 - residual) fuse_heads(A_l) + residual I, rows scaled to 1

    Abnar and Zuidema 2020, 'Quantifying Attention Flow in Transformers', section 3 (mean over heads,
    residual 0.5, nothing discarded); Gildenblat 2020 for `discard`. The class is not looked at: every
    target has the same map, under a frozen backbone the pretrained network's. Maps are not negative.

    Args:
        model: the model.
        pixels: faces as stored, (B, H, W) or (B, H, W, 3).
        choose: logits (B, C) -> classes to explain, int64 (B, K).
        fusion: mean, max or min over heads. Default: mean.
        discard: share of the smallest entries of each fused matrix that is set to 0 first, 0 or more and below 1.
            Default: 0.
        residual: weight of the residual connection, 0 to 1. Default: 0.5.

    Returns:
        heatmaps float32 (B, K, h, w) and logits.

    Raises:
        UserError: an option is out of its range.
    """
    if fusion not in ("mean", "max", "min"):
        raise UserError(f"rollout@fusion={fusion}: must be mean, max or min")
    if not 0 <= discard < 1 or not 0 <= residual <= 1:
        raise UserError(f"rollout@discard={discard},residual={residual}: shares, discard below 1")
    return _read_from_all_blocks(
        model,
        pixels,
        choose,
        lambda attention: _fuse_heads(attention, fusion).float(),
        lambda fused, tokens: rolled_out(fused, tokens, residual, discard),
    )


def self_attention(
    model: FaceClassifier,
    pixels: Tensor,
    choose: ChooseClasses,
    block: int = -1,
    head: int | None = None,
) -> Explanation:
    """Self-attention of the class token (the mean over the patches' where the head reads none) in one block.

        H_j = A_block[head, class token, j], or the mean over heads

    Dosovitskiy et al. 2021, 'An Image is Worth 16x16 Words', for the attention; Caron et al. 2021, 'Emerging
    Properties in Self-Supervised Vision Transformers', figure 1, for such maps of the last block, the default.
    The class is not looked at, and the map under a frozen backbone is the pretrained network's.

    Args:
        model: the model.
        pixels: faces as stored, (B, H, W) or (B, H, W, 3).
        choose: logits (B, C) -> classes to explain, int64 (B, K).
        block: number of the block, from 0, or from the end with -1. Default: -1, the last.
        head: number of the head, from 0. Default: None, the mean over heads.

    Returns:
        heatmaps float32 (B, K, h, w) and logits.

    Raises:
        UserError: the model has no such block, or the block no such head.
    """
    count = len(model.views[0].attention_blocks)
    if not -count <= block < count:
        raise UserError(f"attention@block={block}: the model has blocks 0 to {count - 1}")
    blocks = [view.attention_blocks[block] for view in model.views]
    seen: list[Tensor] = []

    def see(attention: Tensor) -> Tensor:
        seen.append(attention.float())
        return attention

    with frozen_eval(model), attention_seen(model, blocks, see), torch.no_grad():
        logits = model(pixels)
    if head is not None and not 0 <= head < seen[0].shape[1]:
        raise UserError(f"attention@head={head}: the block has heads 0 to {seen[0].shape[1] - 1}")
    maps = []
    with torch.autocast(model.device.type, enabled=False):
        for view, attention in zip(model.views, seen, strict=True):
            chosen = attention.mean(dim=1) if head is None else attention[:, head]
            maps.append(attended_patches(chosen, _tokens(view)))
    return _target_ignored(model, maps, logits, choose, pixels)


def all_blocks(model: FaceClassifier, pixels: Tensor, choose: ChooseClasses) -> Explanation:
    """Self-attention of the class token (the mean over the patches' where the head reads none), over all blocks.

        H_j = mean over blocks l and heads h of A_l[h, class token, j]

    `self_attention` reads one block alone: the tokens that the last block attends to have been mixed by the blocks
    before it. This is the map that `--guide-explainer all-blocks` asks for. The class is not looked at, and the map
    under a frozen backbone is the pretrained network's.
    """
    return _read_from_all_blocks(
        model, pixels, choose, lambda attention: attention.float().mean(dim=1), attended_in_all_blocks
    )


def _read_from_all_blocks(
    model: FaceClassifier,
    pixels: Tensor,
    choose: ChooseClasses,
    fuse: Callable[[Tensor], Tensor],
    read: Callable[[Sequence[Tensor], TokenGrid], Tensor],
) -> Explanation:
    """Maps read from the attention of every block; the class is not looked at.

    Args:
        model: a transformer.
        pixels: faces as stored, (B, H, W) or (B, H, W, 3).
        choose: logits (B, C) -> classes to explain (B, K).
        fuse: joins the heads of one block, (B, heads, T, T) -> (B, T, T).
        read: makes a view's map (B, rows, columns) from the fused attention of its blocks, first to last.
    """
    fused: list[Tensor] = []

    def see(attention: Tensor) -> Tensor:
        fused.append(fuse(attention))
        return attention

    with frozen_eval(model), attention_seen(model, model.attention_blocks, see), torch.no_grad():
        logits = model(pixels)
    with torch.autocast(model.device.type, enabled=False):
        maps = [read(attention, _tokens(view)) for view, attention in _by_view(model, fused)]
    return _target_ignored(model, maps, logits, choose, pixels)


def attention_gradcam(model: FaceClassifier, pixels: Tensor, choose: ChooseClasses) -> Explanation:
    """Gradient-weighted attention relevance, for a class.

        R <- R + E_h[relu(dy_c/dA_l * A_l)] R, from R = I, block after block

    Chefer, Gur and Wolf 2021, 'Generic Attention-model Explainability for Interpreting Bi-Modal and
    Encoder-Decoder Transformers', equations 5 and 6. One forward pass, and a backward pass a class through
    the blocks. Maps are not negative.
    """
    seen: list[Tensor] = []

    def see(attention: Tensor) -> Tensor:
        if not attention.requires_grad:  # a branch's first block's: its graph begins here
            attention = attention.requires_grad_()
        seen.append(attention)
        return attention

    with frozen_eval(model), attention_seen(model, model.attention_blocks, see):
        with torch.no_grad():
            inputs = model.preprocess(pixels)
        with torch.enable_grad():
            logits = model.logits(inputs)
            classes = choose(logits.detach())
            with torch.autocast(model.device.type, enabled=False):
                relevances = [
                    _relevance_by_view(model, seen, gradients)
                    for gradients in each_class_gradients(logits, classes, seen)
                ]
                maps = [torch.stack(view_maps, dim=1) for view_maps in zip(*relevances, strict=True)]
                return join_views(model, maps, logits, pixels)


def _by_view(model: FaceClassifier, kept: Sequence[Tensor]) -> Iterator[tuple[View, Sequence[Tensor]]]:
    """Each view with the tensors that were kept of its blocks, first to last."""
    start = 0
    for view in model.views:
        yield view, kept[start : start + len(view.attention_blocks)]
        start += len(view.attention_blocks)


def _tokens(view: View) -> TokenGrid:
    if view.tokens is None:
        raise RuntimeError("attention maps need a network whose tokens keep their places")
    return view.tokens


def _relevance_by_view(
    model: FaceClassifier, attention: Sequence[Tensor], gradients: Sequence[Tensor]
) -> list[Tensor]:
    """The relevance (B, rows, columns) of each view's patches for one class."""
    return [
        _relevance(_tokens(view), blocks, by_block)
        for (view, blocks), (_, by_block) in zip(
            _by_view(model, attention), _by_view(model, gradients), strict=True
        )
    ]


def _relevance(tokens: TokenGrid, attention: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    rows = reading_rows(tokens, attention[0].detach()[:, 0].float())
    # the row of R is the reading row times (I + C_L) ... (I + C_1): again from the last block to the first
    for block, gradient in zip(reversed(attention), reversed(gradients), strict=True):
        rows = rows + rows @ (block.detach() * gradient).float().clamp(min=0).mean(dim=1)
    return on_patch_grid(tokens, rows[:, 0])


def _fuse_heads(attention: Tensor, fusion: str) -> Tensor:
    return attention.mean(dim=1) if fusion == "mean" else getattr(attention, f"a{fusion}")(dim=1)


def _without_smallest(attention: Tensor, share: float) -> Tensor:
    """The fused matrices (B, T, T), with the smallest `share` of each one's entries set to 0."""
    entries = attention.flatten(1)
    count = int(share * entries.shape[1])
    smallest = entries.topk(count, dim=1, largest=False).indices
    return entries.scatter(1, smallest, 0).view_as(attention)


def rolled_out(
    fused: Sequence[Tensor], tokens: TokenGrid, residual: float = 0.5, discard: float = 0.0
) -> Tensor:
    """The rollout (B, rows, columns) of the blocks' attention (B, T, T), first to last; see `rollout`."""
    # only the rows that the map is read from are carried through the product, last block first
    rows = reading_rows(tokens, fused[0])
    for attention in reversed(fused):
        if discard > 0:
            attention = _without_smallest(attention, discard)
        scale = (1 - residual) * attention.sum(dim=-1) + residual
        # a row that lost all its entries leads nowhere
        rows = rows / scale.masked_fill(scale == 0, 1)[:, None]
        rows = (1 - residual) * rows @ attention + residual * rows
    return on_patch_grid(tokens, rows[:, 0])


def attended_patches(attention: Tensor, tokens: TokenGrid) -> Tensor:
    """The attention of the tokens that the head reads to the patches, (B, rows, columns), from attention (B, T, T)."""
    return on_patch_grid(tokens, (reading_rows(tokens, attention) @ attention)[:, 0])


def attended_in_all_blocks(attention: Sequence[Tensor], tokens: TokenGrid) -> Tensor:
    """As `attended_patches`, in the mean over blocks, each (B, T, T)."""
    return attended_patches(torch.stack(list(attention)).mean(dim=0), tokens)


def reading_rows(tokens: TokenGrid, attention: Tensor) -> Tensor:
    """The row vector (B, 1, T) that reads a product of (B, T, T) matrices as the head reads the tokens."""
    row = torch.zeros(attention.shape[-1], device=attention.device)
    patches = tokens.rows * tokens.columns
    share = 0.5 if tokens.pools and tokens.read else 1.0  # where the head reads both, each counts half
    if tokens.read:
        row[: tokens.read] = share / tokens.read
    if tokens.pools or not tokens.read:
        row[tokens.prefix :] = share / patches
    return row.expand(len(attention), 1, -1)


def on_patch_grid(tokens: TokenGrid, row: Tensor) -> Tensor:
    """The patches (B, rows, columns) of a row over the tokens (B, T)."""
    return row[:, tokens.prefix :].unflatten(1, (tokens.rows, tokens.columns))


def _target_ignored(
    model: FaceClassifier, maps: list[Tensor], logits: Tensor, choose: ChooseClasses, pixels: Tensor
) -> Explanation:
    """The same maps, a view's (B, rows, columns), for each chosen class."""
    logits = logits.float()
    classes = choose(logits).shape[1]
    class_maps = [view_maps[:, None].expand(-1, classes, -1, -1) for view_maps in maps]
    return join_views(model, class_maps, logits, pixels)


def _attention_explainer(
    name: str,
    source: str,
    explain: ExplainBatch,
    *,
    looks_at_target: bool = False,
    options: Mapping[str, Option] | None = None,
    types: Mapping[str, type] | None = None,
    batch_size: int = 64,
) -> Explainer:
    return Explainer(
        name=name,
        source=source,
        needs="attention blocks",
        negatives="drop",
        class_token="its row is read, its column left out",
        looks_at_target=looks_at_target,
        explain=explain,
        options=options or {},
        types=types or {},
        batch_size=batch_size,
        revision=2,
    )


ATTENTION = [
    _attention_explainer(
        "rollout",
        "Abnar and Zuidema 2020",
        rollout,
        options={"fusion": "mean", "discard": 0.0, "residual": 0.5},
    ),
    _attention_explainer(
        "attention",
        "Dosovitskiy et al. 2021",
        self_attention,
        options={"block": -1, "head": None},
        types={"head": int},
    ),
    _attention_explainer("all-blocks", "Dosovitskiy et al. 2021", all_blocks),
    _attention_explainer(
        "attention-gradcam", "Chefer et al. 2021", attention_gradcam, looks_at_target=True, batch_size=16
    ),
]
