"""TSDAE's loss: reconstruct each sentence from the embedding of its noisy version.

The objective is that of the library's :class:`DenoisingAutoEncoderLoss`, up to float32 rounding, on the same weights
and batch. The computation differs: the decoder is built from the live encoder, the head is computed only at the tokens
to predict, and the token embeddings' gradient is added to the head's in place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss
from torch import Tensor, nn
from transformers import PreTrainedModel

from tsdae_kit.config.settings.training import DecoderKind
from tsdae_kit.errors import KitError
from tsdae_kit.models.encoders import full_embedding_dimension
from tsdae_kit.tsdae.collectives import mean_over_ranks
from tsdae_kit.tsdae.cross_attention_decoder import CrossAttentionDecoder, has_cross_attention
from tsdae_kit.tsdae.fused_cross_entropy import TiedWeightGradient, linear_cross_entropy
from tsdae_kit.tsdae.prefix_decoder import PrefixDecoder
from tsdae_kit.tsdae.regularization import Regularization


class TSDAELoss(DenoisingAutoEncoderLoss):
    """The denoising auto-encoder loss (Wang, Reimers and Gurevych 2021, arXiv 2104.06979, section 3).

    Its input is the features of the noisy and of the clean texts, in that order. As in the library, the decoder has no
    dropout and the encoder keeps its own. A second loss, ``pair_loss``, gets the features of all further texts and is
    added.

    Attributes:
        encoder: The sentence encoder; only this is kept after training.
        decoder: Reconstructs the sentence; with ``tied`` it shares the encoder's weights.
        regularization: Added in the steps that train the encoder.
        components: The terms of the last loss, without gradients: ``reconstruction`` and, where they are used,
            ``pairs`` (the pair loss), ``contrastive`` and ``drift``, with their weights applied.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        tied: bool = True,
        decoder: DecoderKind = "auto",
        pair_loss: nn.Module | None = None,
        regularization: Regularization | None = None,
    ) -> None:
        """Build the decoder from the live encoder, which stays bitwise unchanged.

        Args:
            model: The sentence encoder to adapt.
            tied: Whether encoder and decoder share weights; a prefix decoder always does.
            decoder: ``cross-attention``, ``prefix``, or ``auto``: cross-attention where the family has it.
            pair_loss: A loss over the same model, without weights of its own.
            regularization: Keeps the encoder near the base model, in the steps that train the encoder.

        Raises:
            KitError: If the model is not one text transformer with a tokenizer that pads, or has no decoder.
        """
        nn.Module.__init__(self)  # not the parent's __init__: it replaces the encoder's weights by those on disk
        transformer = getattr(model, "transformers_model", None)
        if transformer is None:
            raise KitError(
                f"The model's first module, {type(model[0]).__name__}, is not a transformer. "
                "Choose a sentence encoder that has one."
            )
        self.encoder = model
        self.tokenizer_encoder = self.tokenizer_decoder = model.tokenizer
        self.need_retokenization = False
        self.tied = tied
        self.regularization = regularization
        self.components: dict[str, Tensor] = {}
        self._pair_loss = [pair_loss] if pair_loss else []  # a list, so that its weights are not registered here
        self.decoder: Any = _make_decoder(transformer, full_embedding_dimension(model), tied, decoder)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """Return the mean cross-entropy in nats over the predicted tokens of the clean texts, plus the added losses.

        Args:
            sentence_features: The features of the noisy and of the clean texts, with ``input_ids`` and
                ``attention_mask`` of shape (batch, tokens); then those of the pair loss, if there is one.
            labels: Ignored; the trainer passes it.
        """
        noisy, clean, *pairs = sentence_features
        weight_gradient = TiedWeightGradient(self.decoder.output.weight)
        # All embedding lookups come before the output layer: TiedWeightGradient requires it.
        with weight_gradient.accumulate_lookups(self):
            embedding = self.encoder(noisy)["sentence_embedding"]  # (batch, hidden)
            hidden_states, targets = self.decoder(embedding, clean["input_ids"], clean["attention_mask"])
            added_losses = [loss(pairs, None) for loss in self._pair_loss if pairs]
            added_components = {"pairs": added_losses[0]} if added_losses else {}
            # Not in an evaluation, nor while the decoder is trained alone
            if self.regularization and self.training and embedding.requires_grad:
                added_losses.append(self.regularization(self.encoder, embedding, clean))
                added_components |= self.regularization.components
        divisor = mean_over_ranks(len(targets), targets.device)
        reconstruction = linear_cross_entropy(hidden_states, self.decoder.output, targets, weight_gradient, divisor)
        components = {"reconstruction": reconstruction, **added_components}
        self.components = {name: value.detach() for name, value in components.items()}
        return sum(added_losses, start=reconstruction)

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that only the decoder has, by name."""
        encoder = {id(parameter) for parameter in self.encoder.parameters()}
        return {name: p for name, p in self.decoder.named_parameters() if id(p) not in encoder}

    def get_config_dict(self) -> dict[str, Any]:
        """Return what the model card says about this loss."""
        return {"tied": self.tied}


def _make_decoder(
    transformer: PreTrainedModel, embedding_dimension: int, tied: bool, kind: DecoderKind
) -> CrossAttentionDecoder | PrefixDecoder:
    if kind == "prefix" or (kind == "auto" and not has_cross_attention(transformer)):
        return PrefixDecoder(transformer, embedding_dimension)
    decoder = CrossAttentionDecoder(transformer, tied)
    if embedding_dimension != decoder.embedding_dimension:
        raise KitError(
            f"The sentence embedding has {embedding_dimension} values, the decoder expects "
            f"{decoder.embedding_dimension}. Use the model without its projection (Dense) layer, or --decoder prefix."
        )
    return decoder
