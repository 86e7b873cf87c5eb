"""Grouping: tokens are assigned to groups, and groups become the mean of what was assigned to them.

GroupViT (Xu et al. 2022) with the parts that its paper leaves out and its code has: a mixer over
group tokens and a cross-attention before the assignment. `Slots` is the plain binding of
OVSegmentor (Eq. 3-6).
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
    """What a grouping makes of tokens.

    Attributes:
        groups: with what they took in.
        soft: assignment without noise, summing to one over the groups.
        slots: the groups before they took anything in.
        values: what the groups take the mean of.
    """

    groups: Float[Tensor, "batch group channel"]
    soft: Float[Tensor, "batch group token"]
    slots: Float[Tensor, "batch group channel"]
    values: Float[Tensor, "batch token channel"]


class TokenMixer(nn.Module):
    """An MLP over the axis of tokens."""

    def __init__(self, tokens: int, hidden: int, out: int) -> None:
        super().__init__()
        self.mlp = Mlp(tokens, hidden, out)

    def forward(
        self, x: Float[Tensor, "batch token channel"]
    ) -> Float[Tensor, "batch group channel"]:
        """See the class."""
        return self.mlp(x.transpose(1, 2)).transpose(1, 2)


def gumbel(logits: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """With Gumbel noise (Jang et al. 2017), in float32: half precision rounds its tail away."""
    logits = logits.float()
    return logits - torch.empty_like(logits).exponential_().log()


def hard_assignment(soft: Float[Tensor, "batch group token"]) -> Float[Tensor, "batch group token"]:
    """One-hot over groups, of the largest of each token, with the gradient of `soft`."""
    hard = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
    return hard - soft.detach() + soft


def group_mean(
    assignment: Float[Tensor, "batch group token"],
    values: Float[Tensor, "batch token channel"],
    eps: float,
) -> Float[Tensor, "batch group channel"]:
    """The mean of the values of each group, over `eps` more tokens than it has; 0 for an empty
    group.
    """
    return assignment @ values / (assignment.sum(2, keepdim=True) + eps)


class Assignment(nn.Module):
    """Tokens choose among groups by single-head attention, normalised over the groups.

    Args:
        width: of tokens and groups.
        assign: gumbel is one-hot with a straight-through gradient, noise only while training; soft
            is the softmax.
        eps: added to the count of a group before it divides; GroupViT has 1.
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
        """Tokens where `mask` is False belong nowhere; `groups` ask, and what they take is added to
        `slots`."""
        queries, keys = self.q_proj(groups).float(), self.k_proj(tokens).float()
        with full_precision(keys):
            logits = queries @ keys.transpose(1, 2) * self.scale
        soft = logits.softmax(1)
        chosen = soft
        if self.assign == "gumbel":
            chosen = hard_assignment(gumbel(logits).softmax(1) if self.training else soft)
        if mask is not None:
            soft, chosen = soft * mask[:, None], chosen * mask[:, None]
        values = self.v_proj(tokens)
        return GroupingOutputs(
            slots + self.proj(group_mean(chosen.to(values.dtype), values, self.eps)),
            soft,
            slots,
            values,
        )

    def members(self, grouping: GroupingOutputs) -> Float[Tensor, "batch token channel"]:
        """What the group of each token would be if it had no other token; tokens where groups
        are.
        """
        return own_group(grouping.soft, grouping.slots) + self.proj(grouping.values)


class Grouping(nn.Module):
    """GroupViT's grouping block: S group tokens take in N tokens and become G groups."""

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
        """Groups and the assignment of x to them."""
        x = self.norm_x(x)
        slots = self.pre_assign(
            self.norm_mixed(self.mixer(self.norm_tokens(group_tokens))), x, mask
        )
        taken = self.assign(slots, slots, x, mask)
        return taken._replace(groups=self.update(taken.groups))

    def members(self, grouping: GroupingOutputs) -> Float[Tensor, "batch token channel"]:
        """See Assignment.members."""
        return self.update(self.assign.members(grouping))

    def update(
        self, y: Float[Tensor, "batch token channel"]
    ) -> Float[Tensor, "batch token channel"]:
        """y + MLP(norm(y))."""
        return y + self.mlp(self.norm_new(y))


class Slots(nn.Module):
    """OVSegmentor's binding, Eq. 3-6: one step of slot attention, G = G' + W_o (mean of the tokens
    assigned).
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
        """Groups and the assignment of x to them (Eq. 4)."""
        return self.assign(group_tokens, self.norm_groups(group_tokens), self.norm_x(x), mask)

    def members(self, grouping: GroupingOutputs) -> Float[Tensor, "batch token channel"]:
        """See Assignment.members."""
        return self.assign.members(grouping)


def own_group(
    soft: Float[Tensor, "batch group token"], groups: Float[Tensor, "batch group channel"]
) -> Float[Tensor, "batch token channel"]:
    """For each token the vector of the group that it belongs to most."""
    return groups.gather(1, soft.argmax(1)[..., None].expand(-1, -1, groups.shape[2]))


def compose(maps: list[Float[Tensor, "batch _group _token"]]) -> Float[Tensor, "batch group token"]:
    """Assignments stage by stage -> of the first tokens to the last groups; the groups of a stage
    are the tokens of the next.
    """
    out = maps[0]
    for following in maps[1:]:
        out = following @ out
    return out
