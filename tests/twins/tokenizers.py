"""Small tokenizers of the true classes: all of ASCII, a few words, the family's added tokens."""

from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import AddedToken
from tokenizers.pre_tokenizers import ByteLevel
from transformers import GemmaTokenizer, LlamaTokenizer, Qwen2Tokenizer

WORDS = ("what", "is", "the", "sum", "of", "four", "digits", "boxed", "answer")
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""What SentencePiece vocabularies fall back to."""
PRINTABLE = ("▁", *map(chr, range(33, 127)))


def qwen(added: Sequence[str], plain: Sequence[str] = (), **names: Any) -> Qwen2Tokenizer:
    """Byte-level BPE. added: tokens behind the vocabulary, in this order; those of `plain` are not
    special and stay in decoded text."""
    merges = merges_of("Ġ")
    vocabulary = vocabulary_of(sorted(ByteLevel.alphabet()), merges)
    tokens = [AddedToken(t, special=t not in plain, normalized=False) for t in added]
    return Qwen2Tokenizer(
        vocabulary,
        merges,
        added_tokens_decoder=dict(enumerate(tokens, start=len(vocabulary))),
        **{"unk_token": None, "model_max_length": 4096, **names},
    )


def llama(added: Sequence[str], **names: Any) -> LlamaTokenizer:
    """SentencePiece-like BPE with bytes to fall back to; <s> in front of every text."""
    special, merges = ("<unk>", "<s>", "</s>"), merges_of("▁")
    vocabulary = vocabulary_of([*special, *BYTES, *PRINTABLE], merges)
    return LlamaTokenizer(
        vocabulary,
        merges,
        added_tokens_decoder=added_tokens([*special, *added], vocabulary),
        add_bos_token=True,
        **{"model_max_length": 4096, **names},
    )


def gemma(added: Sequence[str], **names: Any) -> GemmaTokenizer:
    """As `llama`, with Gemma's own first ids, its turns and lines; <bos> in front of every text."""
    special = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>")
    merges = [("\n", "\n"), *merges_of("▁")]
    vocabulary = vocabulary_of([*special, "\n", *BYTES, *PRINTABLE], merges)
    return GemmaTokenizer(
        vocabulary,
        merges,
        added_tokens_decoder=added_tokens([*special, *added], vocabulary),
        add_bos_token=True,
        **{"model_max_length": 4096, **names},
    )


def merges_of(space: str) -> list[tuple[str, str]]:
    """WORDS, alone and behind a space, read from the left: one character more per merge."""
    words = [*WORDS, *(space + word for word in WORDS)]
    pairs = ((word[:end], word[end]) for word in words for end in range(1, len(word)))
    return list(dict.fromkeys(pairs))


def vocabulary_of(atoms: Sequence[str], merges: Iterable[tuple[str, str]]) -> dict[str, int]:
    tokens = dict.fromkeys([*atoms, *(left + right for left, right in merges)])
    return {token: i for i, token in enumerate(tokens)}


def added_tokens(added: Sequence[str], vocabulary: dict[str, int]) -> dict[int, AddedToken]:
    """Special tokens where the vocabulary has them, else behind it."""
    new = [token for token in added if token not in vocabulary]
    ids = {**vocabulary, **{token: len(vocabulary) + i for i, token in enumerate(new)}}
    return {ids[token]: AddedToken(token, special=True, normalized=False) for token in added}
