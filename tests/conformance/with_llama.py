"""
By hand: a GGUF file of one of the test models in llama.cpp itself. How far its logits are from those of
the original, and its tokens from those of the original's tokenizer.

  with_llama.py MODEL.gguf tests/data/MODEL-tiny

Needs `pip install xllamacpp==2026.10.11549 llama-cpp-py-sync==0.11548 numpy safetensors`: the first has
llama.cpp's C functions, the second their declarations.
"""
import glob
import json
import os
import sys
import unicodedata

import numpy as np
import xllamacpp
from llama_cpp_py_sync._cffi_bindings import get_ffi
from safetensors.numpy import load_file

ffi = get_ffi()
shared_object = glob.glob(os.path.join(os.path.dirname(xllamacpp.__file__), "*.so"))[0]
library = ffi.dlopen(shared_object)


@ffi.callback("void(enum ggml_log_level, const char*, void*)")
def log(level, text, _):
    if level >= 4:  # errors
        sys.stderr.write(ffi.string(text).decode(errors="replace"))


class Model:
    """On one thread, without what rounds more than the file's types do."""

    def __init__(self, path):
        options = library.llama_model_default_params()
        options.n_gpu_layers = 0
        self.model = library.llama_model_load_from_file(path.encode(), options)
        if self.model == ffi.NULL:
            sys.exit(f"llama.cpp does not load {path}")
        self.vocabulary = library.llama_model_get_vocab(self.model)
        self.size = library.llama_vocab_n_tokens(self.vocabulary)

    def context(self, tokens):
        options = library.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = max(tokens, 256)
        options.n_outputs_max = tokens
        options.type_k = options.type_v = 0  # F32
        options.flash_attn_type = 0
        options.n_threads = options.n_threads_batch = 1
        return library.llama_init_from_model(self.model, options)

    def logits(self, ids):
        context = self.context(len(ids))
        batch = library.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.logits[i] = int(token), i, 1
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        if library.llama_decode(context, batch):
            sys.exit("llama.cpp does not decode")
        buffer = ffi.buffer(library.llama_get_logits(context), len(ids) * self.size * 4)
        found = np.frombuffer(buffer, np.float32).reshape(len(ids), self.size).copy()
        library.llama_batch_free(batch)
        library.llama_free(context)
        return found

    def tokens(self, text):
        data = text.encode()
        ids = ffi.new("int32_t[]", len(data) + 16)
        count = library.llama_tokenize(self.vocabulary, data, len(data), ids, len(data) + 16, True,
                                       True)
        return list(ids[0:count])


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def divergence(reference, logits):
    p, q = log_softmax(reference), log_softmax(logits)
    return (np.exp(p) * (p - q)).sum(-1).mean()


def main():
    path, original = sys.argv[1:3]
    library.llama_log_set(log, ffi.NULL)
    library.llama_backend_init()
    model = Model(path)
    golden = load_file(os.path.join(original, "golden.safetensors"))
    divergences = [divergence(expected, model.logits(ids))
                   for ids, expected in zip(golden["input_ids"], golden["logits"])]
    print(f"KL divergence {np.mean(divergences):.6f} nats")
    with open(os.path.join(original, "golden.json"), encoding="utf-8") as file:
        texts = json.load(file)["tokenizer"]
    # llama.cpp does not normalize, as some of the tokenizers do.
    texts = [case for case in texts if unicodedata.is_normalized("NFC", case["text"])]
    wrong = [case["text"] for case in texts if model.tokens(case["text"]) != case["ids"]]
    print(f"{len(texts) - len(wrong)} of {len(texts)} texts have the original's tokens")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
