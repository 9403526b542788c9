"""What was written beside what libawq reads, what there was before, and what others wrote."""
import os

import numpy

from reader import Checkpoint
from report import expect

# Rounding alone: largest error of a matrix, as a share of its norm. Matrices that are mixed up
# differ by more than 1.
LARGEST_ERROR = {2: 0.8, 3: 0.4, 4: 0.2, 8: 0.02}
# Calibrated on little text: the perplexity as a share of the original's.
LARGEST_PERPLEXITY = 1.1

COPIED = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


# ---- checks ----

def compare_weights(modules, dumped):
    """Bit for bit."""
    expect(modules.values.keys() == dumped.keys(),
           f"modules differ: {sorted(modules.values.keys() ^ dumped.keys())[:4]}")
    for name, values in modules.values.items():
        ours = dumped[name]
        expect(values.dtype == numpy.float32 and ours.dtype == numpy.float32 and
               values.shape == ours.shape, f"{name} is {values.shape}, in libawq {ours.shape}")
        # As integers, so that -0 is not 0.
        different = numpy.ascontiguousarray(values).view(numpy.uint32) != ours.view(numpy.uint32)
        expect(not different.any(), f"{name}: {int(different.sum())} of {different.size} values "
                                    "are not what libawq reads")
    return f"{sum(v.size for v in modules.values.values())} values of {len(dumped)} weights and " \
           f"biases are libawq's bit for bit, {len(modules.quantized)} matrices were in codes"


def compare_rounded(modules, source, bits):
    """With nothing but rounding: codes are near the original, all else is the original. bits: of
    all, or a function that tells those of a module."""
    largest = 0.0
    for name, values in modules.values.items():
        before = source.values[name]
        if name in modules.quantized:
            error = float(numpy.linalg.norm(values - before) / numpy.linalg.norm(before))
            allowed = LARGEST_ERROR[bits(name) if callable(bits) else bits]
            expect(0 < error < allowed, f"{name} is {error:.4f} from the original")
            largest = max(largest, error)
        else:
            expect(values.tobytes() == before.tobytes(), f"{name} is not the original's")
    return f"{len(modules.quantized)} matrices at most {largest:.4f} from the original, " \
           f"{len(modules.values) - len(modules.quantized)} the same"


def is_same(first, second):
    """Of the same types all through: transformers refuses 0 where a configuration has 0.0."""
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(is_same(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(is_same, first, second))
    return first == second


def compare_texts(source, checkpoint):
    """The configuration says what it said, but for the quantization; other files are copies."""
    before, after = Checkpoint(source).config, dict(checkpoint.config)
    del after["quantization_config"]
    expect(before.keys() == after.keys(), f"members {sorted(before.keys() ^ after.keys())}")
    for name, value in before.items():
        expect(is_same(value, after[name]), f"{name} is {after[name]!r}, was {value!r}")
    for name in COPIED:
        with open(os.path.join(source, name), "rb") as first, \
                open(os.path.join(checkpoint.directory, name), "rb") as second:
            expect(first.read() == second.read(), f"{name} differs")
    return f"{len(before)} members of config.json are as they were, {len(COPIED)} files are copies"


def compare_perplexity(programs, source, directory):
    text = os.path.join(source, "eval.txt")
    before, after = programs.perplexity(source, text), programs.perplexity(directory, text)
    expect(after < before * LARGEST_PERPLEXITY, f"{after} after, {before} before")
    return f"{after:.3f} after, {before:.3f} before"


def compare_tensors(first, second):
    first, second = Checkpoint(first).tensors, Checkpoint(second).tensors
    expect(first.keys() == second.keys(), f"{sorted(first.keys() ^ second.keys())[:4]}")
    for name, tensor in first.items():
        expect(tensor.same_as(second[name]), f"{name} differs")
    return f"{len(first)} tensors are the same, bytes and all"
