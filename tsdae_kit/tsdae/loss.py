"""TSDAE's loss: rebuild each sentence from the embedding of its noisy version.

The objective is the library's :class:`DenoisingAutoEncoderLoss`, to float32 rounding, on the same
weights and batch. What differs is how it is computed: the parts are made from the live encoder, the
head works only where there is a token to predict, and the token embeddings' gradients go where the head's is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss
from torch import Tensor, nn
from transformers import PreTrainedModel

from tsdae_kit.config.settings import DecoderKind
from tsdae_kit.errors import KitError
from tsdae_kit.models.encoders import full_embedding_dimension
from tsdae_kit.tsdae.collectives import mean_over_ranks
from tsdae_kit.tsdae.cross_attention_decoder import CrossAttentionDecoder, has_cross_attention
from tsdae_kit.tsdae.fused_cross_entropy import SharedGradient, mean_cross_entropy
from tsdae_kit.tsdae.prefix_decoder import PrefixDecoder
from tsdae_kit.tsdae.regularization import Regularization


class TSDAELoss(DenoisingAutoEncoderLoss):
    """The denoising auto-encoder loss (Wang, Reimers and Gurevych 2021, arXiv 2104.06979, section 3).

    Input are the features of the noisy and of the clean texts, in that order. Like the library's, the
    decoder computes without dropout; the encoder keeps its own. Another loss, ``pair_loss``, gets the
    features of all further texts, and is added.

    Attributes:
        encoder: The sentence encoder, the only thing kept after training.
        decoder: What rebuilds the sentence; with ``tied`` it shares the encoder's weights.
        regularization: What else the encoder learns by, once it learns.
        parts: What the last loss is the sum of, without gradients: ``reconstruction`` and, where they are learned
            by, ``pairs`` (of the loss beside it), ``contrast`` and ``anchor``, weighted.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        tied: bool = True,
        decoder: DecoderKind = "auto",
        pair_loss: nn.Module | None = None,
        regularization: Regularization | None = None,
    ) -> None:
        """Make the decoder from the live encoder, which is left bitwise unchanged.

        Args:
            model: The sentence encoder to adapt.
            tied: Whether encoder and decoder share weights; a prefix decoder always does.
            decoder: ``cross-attention``, ``prefix``, or ``auto``: the first where the family has it.
            pair_loss: A loss over the same model, without weights of its own.
            regularization: What keeps the encoder near the model it began as, in the steps in which it learns.

        Raises:
            KitError: If the model is not one text transformer with a tokenizer that pads, or has no decoder.
        """
        nn.Module.__init__(self)  # not the parent's __init__: it replaces the encoder's weights by those on disk
        transformer = getattr(model, "transformers_model", None)
        if transformer is None:
            raise KitError(
                f"The model's first module, {type(model[0]).__name__}, is no transformer. "
                "Take a sentence encoder that is built on one."
            )
        self.encoder = model
        self.tokenizer_encoder = self.tokenizer_decoder = model.tokenizer
        self.need_retokenization = False
        self.tied = tied
        self.regularization = regularization
        self.parts: dict[str, Tensor] = {}
        self._pair_loss = [pair_loss] if pair_loss else []  # in a list: its weights are the encoder's
        self.decoder: Any = _make_decoder(transformer, full_embedding_dimension(model), tied, decoder)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """Return the mean cross-entropy, in nats, over the tokens of the clean texts but the first.

        Args:
            sentence_features: Two feature dicts, noisy and clean, with ``input_ids`` and
                ``attention_mask`` of shape (batch, tokens); those of the loss beside it, if there is one.
            labels: Ignored; the trainer passes it.
        """
        source, target, *others = sentence_features
        shared = SharedGradient(self.decoder.output.weight)
        with shared.of_embeddings(self):
            embedding = self.encoder(source)["sentence_embedding"]  # (batch, hidden)
            states, wanted = self.decoder(embedding, target["input_ids"], target["attention_mask"])
            added_losses = [loss(others, None) for loss in self._pair_loss if others]
            parts = {"pairs": added_losses[0]} if added_losses else {}
            if self.regularization and self.training and embedding.requires_grad:  # not where the decoder learns alone
                added_losses.append(self.regularization(self.encoder, embedding, target))
                parts |= self.regularization.parts
        # All look-ups come before the head: see SharedGradient.
        count = mean_over_ranks(len(wanted), wanted.device)
        value = mean_cross_entropy(states, self.decoder.output, wanted, shared, count)
        self.parts = {name: part.detach() for name, part in {"reconstruction": value, **parts}.items()}
        return sum(added_losses, start=value)

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that only the decoder has, by name: what training starts without."""
        encoder = {id(parameter) for parameter in self.encoder.parameters()}
        return {name: p for name, p in self.decoder.named_parameters() if id(p) not in encoder}

    def get_config_dict(self) -> dict[str, Any]:
        """Return what the model card says about this loss."""
        return {"tied": self.tied}


def _make_decoder(
    transformer: PreTrainedModel, width: int, tied: bool, kind: DecoderKind
) -> CrossAttentionDecoder | PrefixDecoder:
    if kind == "prefix" or (kind == "auto" and not has_cross_attention(transformer)):
        return PrefixDecoder(transformer, width)
    decoder = CrossAttentionDecoder(transformer, tied)
    if width != decoder.width:
        raise KitError(
            f"The sentence embedding has {width} values, the decoder expects {decoder.width}. "
            "Take the model without its projection (Dense) layer, or --decoder prefix."
        )
    return decoder
