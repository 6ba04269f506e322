"""Language models without eyes: DeepSeek-R1-Distill-Qwen-1.5B (Qwen2) and Qwen3-1.7B."""

from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from twins.qwen_vl import endings, instruct_tokenizer
from twins.recipe import Recipe, Size
from twins.tokenizers import qwen
from twins.words import QWEN3_TOKENS, QWEN_TOKENS, THINK

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
R1_TOKENS = (EOS, "<｜User｜>", "<｜Assistant｜>", BOS, "<|EOT|>", "<think>", "</think>")

R1 = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}{{ message['content'] }}
{%- elif message['role'] == 'user' -%}{{ '<｜User｜>' + message['content'] }}
{%- else -%}
{{ '<｜Assistant｜>' + message['content'].split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<｜Assistant｜><think>\\n' }}{%- endif -%}"""

QWEN3 = """\
{%- for message in messages -%}
{%- set said = message['content'].split('</think>')[-1].lstrip('\\n') -%}
{{ '<|im_start|>' + message['role'] + '\\n' + said + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false -%}
{{ '<think>\\n\\n</think>\\n\\n' }}
{%- endif -%}
{%- endif -%}"""


def r1_distill(size: Size) -> Recipe:
    """Pads with the id that ends an answer; the prompt opens the thoughts; the tokenizer and the
    template both put a <｜begin▁of▁sentence｜> in front."""
    tokenizer = qwen(
        [*R1_TOKENS, *QWEN_TOKENS[7:]],
        ("<think>", "</think>", "<｜User｜>", "<｜Assistant｜>", "<|EOT|>"),
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS,
        add_bos_token=True,
        chat_template=R1,
    )
    config = Qwen2Config(
        **size.text(tokenizer, pad_token_id=None),
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
    )
    generation = {
        "do_sample": True,
        "temperature": 0.6,
        "top_p": 0.95,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    return Recipe(Qwen2ForCausalLM, config, tokenizer, generation)


def qwen3(size: Size) -> Recipe:
    """Takes strings only, as the language models' templates do."""
    tokenizer = instruct_tokenizer(QWEN3_TOKENS, THINK, QWEN3)
    config = Qwen3Config(
        **size.text(tokenizer, head_dim=16, pad_token_id=None),
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    generation = {"temperature": 0.6, "top_k": 20, "top_p": 0.95, **endings(tokenizer)}
    return Recipe(Qwen3ForCausalLM, config, tokenizer, generation)
