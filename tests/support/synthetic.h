/*
 * Small random checkpoints for tests: Mixtral-style, or of the made-up architecture that
 * plugins/template describes. Weights are drawn by place (layer, part, expert) and not by
 * name or order, so that two checkpoints of the same sizes and seed hold the same model whatever
 * their sharding and naming, and, but for rounding, their dtype. There is no tokenizer.
 *
 *     synthetic model = SYNTHETIC_SMALL;
 *     model.layers = 3;
 *     awq_status status = synthetic_write(ctx, directory, &model);
 */
#ifndef SYNTHETIC_H
#define SYNTHETIC_H

#include "core/core.h"

typedef enum synthetic_naming {
    SYNTHETIC_MIXTRAL,
    SYNTHETIC_DEMO, /* demo_moe: mlp.gate, mlp.experts.E.gate_proj, ... */
} synthetic_naming;

/* How config.json tells the rotary embedding. */
typedef enum synthetic_rope {
    SYNTHETIC_ROPE_THETA,             /* rope_theta alone */
    SYNTHETIC_ROPE_SCALING,           /* rope_theta, rope_scaling: linear, factor 2 */
    SYNTHETIC_ROPE_PARAMETERS,        /* rope_parameters: default */
    SYNTHETIC_ROPE_PARAMETERS_LINEAR, /* rope_parameters: linear, factor 2 */
} synthetic_rope;

/* What is wrong with the tensor `damaged`. */
typedef enum synthetic_damage {
    SYNTHETIC_WHOLE,
    SYNTHETIC_MISSING,
    SYNTHETIC_ROW_MORE, /* one row, or element of a vector, more than there should be */
    SYNTHETIC_I32,      /* integers */
    SYNTHETIC_NAN,      /* its last element is NaN */
    SYNTHETIC_INFINITE, /* its last element is infinite */
} synthetic_damage;

typedef struct synthetic {
    synthetic_naming naming;
    int64_t layers, hidden, intermediate, experts, per_token, heads, kv_heads;
    int64_t head_dim; /* 0: hidden / heads, and config.json does not tell */
    int64_t window;   /* 0: none */
    int64_t vocabulary;
    awq_dtype dtype;      /* AWQ_BF16, AWQ_F16 or AWQ_F32, of all tensors */
    uint64_t shard_bytes; /* 0: a single file */
    synthetic_rope rope;
    bool tied; /* the embedding is the head too: there is no lm_head */
    uint64_t seed;
    int64_t starved; /* an expert that no token ever chooses, in every layer; -1: none */
    synthetic_damage damage;
    const char *damaged;     /* a tensor's full name, for damage */
    const char *config_more; /* NULL, or members for config.json: "\"a\": 1, \"b\": 2" */
    /* NULL, or changes the values of a tensor [rows,cols] before they are written; a vector has
       cols 0. */
    void (*edit)(const void *by, const char *name, int64_t rows, int64_t cols, float *values);
    const void *by;
} synthetic;

/* About 400 KB. Sizes are multiples of 32, and the head dimension is 16. */
#define SYNTHETIC_SMALL                                                                            \
    {                                                                                              \
        .layers = 2, .hidden = 64, .intermediate = 96, .experts = 4, .per_token = 2, .heads = 4,   \
        .kv_heads = 2, .vocabulary = 128, .dtype = AWQ_BF16, .rope = SYNTHETIC_ROPE_THETA,         \
        .seed = 1, .starved = -1                                                                   \
    }

/*
 * Writes the checkpoint to `directory`, which must not exist. Linear weights are normal with
 * deviation 1/sqrt(K); norm weights are about 1, but 8 in one channel of every 32. A
 * starved expert is made by a channel that is positive in every hidden state: channel 0 of the
 * embedding is 4, nothing is ever added to it, and the starved expert's router row reads it alone,
 * with a large negative weight. Call synthetic_remove when done.
 */
awq_status synthetic_write(awq_context *ctx, const char *directory, const synthetic *model);
/* Writes ids [sequences,length] to `directory`/model.safetensors, as people who tokenized elsewhere
   bring them; an earlier directory of plain files is replaced. */
awq_status synthetic_ids(awq_context *ctx, const char *directory, int64_t sequences, int64_t length,
                         const int32_t *ids);
/* The same with random ids below the vocabulary. */
awq_status synthetic_random_ids(awq_context *ctx, const char *directory, int64_t sequences,
                                int64_t length, int64_t vocabulary, uint64_t seed);
/* What the random numbers of a part of a model begin with. Measured bounds of tests hold for the
   numbers that this gives: FNV-1a (Fowler, Noll, Vo). */
uint64_t synthetic_seed(uint64_t seed, const void *data, size_t bytes);
/* Replaces a piece of the checkpoint's config.json, which must be there. */
awq_status synthetic_edit_config(awq_context *ctx, const char *directory, const char *from,
                                 const char *to);
/* Removes a directory of plain files, such as the above or an output; no error if it is not there.
 */
awq_status synthetic_remove(awq_context *ctx, const char *directory);

#endif
