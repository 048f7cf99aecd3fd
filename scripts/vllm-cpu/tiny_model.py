#!/usr/bin/env python3
"""Makes a tiny Qwen3 model with random weights and a real BPE tokenizer, without any download.

usage: tiny_model.py OUT_DIR

0.8 M parameters in float32: small enough that several engines share two cores, large enough that greedy answers depend
on the whole prompt.
"""

import glob
import json
import os
import sys

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HIDDEN, LAYERS, VOCAB, CONTEXT = 128, 2, 2048, 4096
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 32
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def corpus(limit=3_000_000):
    """Python's own library: text that every installation has."""
    size = 0
    for path in sorted(glob.glob(os.path.dirname(os.__file__) + "/*.py")):
        with open(path, errors="ignore") as file:
            text = file.read()
        yield text
        size += len(text)
        if size > limit:
            return


def tokenizer():
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(corpus(), trainer)
    return bpe


def config(bpe):
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": HIDDEN,
        "intermediate_size": HIDDEN * 2,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "vocab_size": bpe.get_vocab_size(),
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "bos_token_id": None,
        "use_sliding_window": False,
        "eos_token_id": bpe.token_to_id("<|im_end|>"),
        "pad_token_id": bpe.token_to_id("<|endoftext|>"),
    }


def weights(vocab):
    rng = np.random.default_rng(0)

    def matrix(rows, columns, scale=1.0):
        return (rng.standard_normal((rows, columns)) * scale / np.sqrt(columns)).astype("float32")

    def ones(n):
        return np.ones(n, "float32")

    q, kv, inner = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM, HIDDEN * 2
    tensors = {
        "model.embed_tokens.weight": rng.standard_normal((vocab, HIDDEN)).astype("float32"),
        "model.norm.weight": ones(HIDDEN),
        "lm_head.weight": matrix(vocab, HIDDEN),
    }
    for layer in range(LAYERS):
        p = f"model.layers.{layer}."
        tensors |= {
            p + "input_layernorm.weight": ones(HIDDEN),
            p + "post_attention_layernorm.weight": ones(HIDDEN),
            # Sharper attention: answers then depend on the whole prompt, which the hand-off's oracle needs.
            p + "self_attn.q_proj.weight": matrix(q, HIDDEN, 2.0),
            p + "self_attn.k_proj.weight": matrix(kv, HIDDEN, 2.0),
            p + "self_attn.v_proj.weight": matrix(kv, HIDDEN),
            p + "self_attn.o_proj.weight": matrix(HIDDEN, q, 2.0),
            p + "self_attn.q_norm.weight": ones(HEAD_DIM),
            p + "self_attn.k_norm.weight": ones(HEAD_DIM),
            p + "mlp.gate_proj.weight": matrix(inner, HIDDEN),
            p + "mlp.up_proj.weight": matrix(inner, HIDDEN),
            p + "mlp.down_proj.weight": matrix(HIDDEN, inner),
        }
    return tensors


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    bpe = tokenizer()
    bpe.save(os.path.join(out, "tokenizer.json"))
    model = config(bpe)
    files = {
        "config.json": model,
        "generation_config.json": {k: model[k] for k in ("eos_token_id", "pad_token_id")},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "model_max_length": CONTEXT,
            "chat_template": CHAT,
            "clean_up_tokenization_spaces": False,
        },
    }
    for name, content in files.items():
        with open(os.path.join(out, name), "w") as file:
            json.dump(content, file, indent=1)
    tensors = weights(model["vocab_size"])
    save_file(tensors, os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
    print(f"{out}: vocabulary {model['vocab_size']}, {sum(t.size for t in tensors.values()) / 1e6:.2f} M parameters")


main()
