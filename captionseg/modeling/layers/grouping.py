"""Grouping: tokens are assigned to groups, and each group gets the mean of its tokens.

`Grouping` is GroupViT's block (Xu et al. 2022), with the parts that only its code has: a mixer over
group tokens, and a cross-attention before the assignment. `Slots` is OVSegmentor's binding
(Xu et al. 2023, Eq. 3-6).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from captionseg.modeling.layers.transformer import CrossBlock, Mlp
from captionseg.runtime.device import full_precision

Assign = Literal["gumbel", "soft"]


class GroupingOutputs(NamedTuple):
    """The result of a grouping.

    Attributes:
        groups: groups after the means of their tokens were added.
        soft: assignment without noise, with sum 1 over the groups.
        slots: groups before.
        values: values of the tokens, of which groups take the mean.
        queries: queries of the groups, in float32.
        keys: keys of the tokens, in float32.
    """

    groups: Float[Tensor, "batch group channel"]
    soft: Float[Tensor, "batch group token"]
    slots: Float[Tensor, "batch group channel"]
    values: Float[Tensor, "batch token channel"]
    queries: Float[Tensor, "batch group channel"]
    keys: Float[Tensor, "batch token channel"]


class TokenMixer(nn.Module):
    """An MLP over the token axis (MLP-Mixer)."""

    def __init__(self, tokens: int, hidden: int, out: int) -> None:
        super().__init__()
        self.mlp = Mlp(tokens, hidden, out)

    def forward(
        self, x: Float[Tensor, "batch token channel"]
    ) -> Float[Tensor, "batch group channel"]:
        """Mix tokens."""
        return self.mlp(x.transpose(1, 2)).transpose(1, 2)


def add_gumbel_noise(logits: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Add Gumbel noise (Jang et al. 2017), in float32 because half precision truncates its tail."""
    logits = logits.float()
    return logits - torch.empty_like(logits).exponential_().log()


def hard_assignment(soft: Float[Tensor, "batch group token"]) -> Float[Tensor, "batch group token"]:
    """Assign each token to its largest group (one-hot), with the gradient of `soft`."""
    return to_largest_group(soft) - soft.detach() + soft


def to_largest_group(
    soft: Float[Tensor, "batch group *token"],
) -> Float[Tensor, "batch group *token"]:
    """Return 1 where the group of a token is its largest one, 0 elsewhere, without gradients."""
    return torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)


def average_groups(
    assignment: Float[Tensor, "batch group token"],
    values: Float[Tensor, "batch token channel"],
    eps: float,
) -> Float[Tensor, "batch group channel"]:
    """Return the sum of the values of each group, divided by its number of tokens plus `eps`."""
    return assignment @ values / (assignment.sum(2, keepdim=True) + eps)


class Assignment(nn.Module):
    """Assigns tokens to groups by single-head attention with a softmax over groups.

    Args:
        width: width of tokens and groups.
        assign: gumbel is one-hot with a straight-through gradient, with noise in training; soft is
            the softmax.
        eps: added to the number of tokens of a group; GroupViT has 1.
    """

    def __init__(self, width: int, *, assign: Assign = "gumbel", eps: float = 1.0) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.proj = (
            nn.Linear(width, width) for _ in range(4)
        )
        self.assign, self.eps, self.scale = assign, eps, width**-0.5

    def forward(
        self,
        slots: Float[Tensor, "batch group channel"],
        groups: Float[Tensor, "batch group channel"],
        tokens: Float[Tensor, "batch token channel"],
        mask: Bool[Tensor, "batch token"] | None = None,
    ) -> GroupingOutputs:
        """Assign tokens to groups, and add the projected means to `slots`.

        Args:
            slots: groups before.
            groups: queries of the groups.
            tokens: tokens.
            mask: False for padding, which is not assigned.
        """
        queries, keys = self.q_proj(groups).float(), self.k_proj(tokens).float()
        with full_precision(keys):
            logits = queries @ keys.transpose(1, 2) * self.scale
        soft = logits.softmax(1)
        chosen = soft
        if self.assign == "gumbel":
            chosen = hard_assignment(add_gumbel_noise(logits).softmax(1) if self.training else soft)
        if mask is not None:
            soft, chosen = soft * mask[:, None], chosen * mask[:, None]
        values = self.v_proj(tokens)
        return GroupingOutputs(
            slots + self.proj(average_groups(chosen.to(values.dtype), values, self.eps)),
            soft,
            slots,
            values,
            queries,
            keys,
        )

    def members(self, grouping: GroupingOutputs) -> Float[Tensor, "batch token channel"]:
        """Return for each token what its group would be without any other token."""
        return gather_own_group(grouping.soft, grouping.slots) + self.proj(grouping.values)


class Grouping(nn.Module):
    """GroupViT's grouping block: N tokens are assigned to G groups, made from S group tokens.

    Args:
        width: width of all tokens.
        heads: heads of the cross-attention.
        tokens: S.
        groups: G.
        ratio: hidden width of MLPs relative to `width`.
        assign: see Assignment.
        eps: see Assignment.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        tokens: int,
        groups: int,
        *,
        ratio: float = 4.0,
        assign: Assign = "gumbel",
        eps: float = 1.0,
    ) -> None:
        super().__init__()
        self.norm_tokens, self.norm_x = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixer, self.norm_mixed = TokenMixer(tokens, width // 2, groups), nn.LayerNorm(width)
        self.pre_assign = CrossBlock(width, heads, ratio=ratio)
        self.assign = Assignment(width, assign=assign, eps=eps)
        self.norm_new, self.mlp = nn.LayerNorm(width), Mlp(width, int(ratio * width))

    def forward(
        self,
        x: Float[Tensor, "batch token channel"],
        group_tokens: Float[Tensor, "batch slot channel"],
        mask: Bool[Tensor, "batch token"] | None = None,
    ) -> GroupingOutputs:
        """Return the groups and the assignment of tokens x; `mask` is False for padding."""
        x = self.norm_x(x)
        slots = self.pre_assign(
            self.norm_mixed(self.mixer(self.norm_tokens(group_tokens))), x, mask
        )
        outputs = self.assign(slots, slots, x, mask)
        return outputs._replace(groups=self.update(outputs.groups))

    def members(self, grouping: GroupingOutputs) -> Float[Tensor, "batch token channel"]:
        """See Assignment.members."""
        return self.update(self.assign.members(grouping))

    def update(
        self, y: Float[Tensor, "batch token channel"]
    ) -> Float[Tensor, "batch token channel"]:
        """Return y + MLP(norm(y))."""
        return y + self.mlp(self.norm_new(y))


class Slots(nn.Module):
    """OVSegmentor's binding, Eq. 3-6: one step of slot attention, G = G' + W_o mean(tokens of G).

    Args:
        width: width of tokens and groups.
        assign: see Assignment.
        eps: see Assignment.
    """

    def __init__(self, width: int, *, assign: Assign = "soft", eps: float = 1e-6) -> None:
        super().__init__()
        self.norm_groups, self.norm_x = nn.LayerNorm(width), nn.LayerNorm(width)
        self.assign = Assignment(width, assign=assign, eps=eps)

    def forward(
        self,
        x: Float[Tensor, "batch token channel"],
        group_tokens: Float[Tensor, "batch group channel"],
        mask: Bool[Tensor, "batch token"] | None = None,
    ) -> GroupingOutputs:
        """Return the groups and the assignment of tokens x (Eq. 4); `mask` is False for padding."""
        return self.assign(group_tokens, self.norm_groups(group_tokens), self.norm_x(x), mask)

    def members(self, grouping: GroupingOutputs) -> Float[Tensor, "batch token channel"]:
        """See Assignment.members."""
        return self.assign.members(grouping)


def gather_own_group(
    soft: Float[Tensor, "batch group token"], groups: Float[Tensor, "batch group channel"]
) -> Float[Tensor, "batch token channel"]:
    """Return for each token the vector of the group that it belongs to most."""
    return groups.gather(1, soft.argmax(1)[..., None].expand(-1, -1, groups.shape[2]))


def compose_assignments(
    maps: list[Float[Tensor, "batch _group _token"]],
) -> Float[Tensor, "batch group token"]:
    """Compose the assignments of all stages to one of the first tokens to the last groups.

    Args:
        maps: assignment of each stage; the groups of a stage are the tokens of the next.
    """
    composed = maps[0]
    for assignment in maps[1:]:
        composed = assignment @ composed
    return composed
