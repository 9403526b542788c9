/*
 * Models as llama.cpp has them in GGUF: names of tensors, key values, and what cannot be said
 * there. Facts from llama.cpp's loaders of the architectures.
 */
#ifndef AWQ__GGUF_MODEL_H
#define AWQ__GGUF_MODEL_H

#include "arch/arch.h"
#include "checkpoint/gguf.h"

#define AWQ__GGUF_MOST_EXPERTS 1024 /* of llama.cpp */

/* An architecture of llama.cpp, whose graph is fixed in its code. */
typedef struct awq__gguf_family {
    const char *model_type; /* of config.json */
    const char *name;       /* general.architecture */
    const char *moe_norm;   /* stem of its tensor */
    bool pairs_heads; /* rows of q and k lie as pairs that are rotated together; else as halves */
    bool sums_to_one; /* weights of a token's experts do */
    bool has_qkv_bias, has_o_bias, has_qk_norms, has_shared, has_sinks, has_expert_bias;
    bool clamps;       /* the activation is that of GPT-OSS; else SiLU */
    bool has_windows;  /* layers 0, 2, 4 ... have one */
    bool needs_head;   /* a tied one is written as well */
    bool whole_heads;  /* heads are as wide as the hidden state, all together */
    bool expert_width; /* I has a key of its own; else it is feed_forward_length */
} awq__gguf_family;

/* ---- gguf_family.c ---- */

/* By the name in a file; NULL if it is none of ours. */
const awq__gguf_family *awq__gguf_family_by_name(const char *name);
const awq__gguf_family *awq__gguf_family_by_model(const char *model_type);
#define AWQ__GGUF_KEY_BYTES 96
/* "block_count" with the family before it, as its files have it. */
void awq__gguf_key(const awq__gguf_family *family, const char *key, char text[AWQ__GGUF_KEY_BYTES]);
/* AWQ_ERROR_UNSUPPORTED, with the reason, if GGUF or llama.cpp's graph cannot be this model. */
awq_status awq__gguf_family_of(awq_context *ctx, const awq__arch *arch,
                               const awq__gguf_family **family);

/* ---- gguf_place.c ---- */

/* Where a module's weight or bias lies. */
typedef struct awq__gguf_place {
    char name[AWQ__GGUF_NAME_BYTES];
    int rank;
    int64_t shape[3];    /* of the whole tensor: [E,N,K] of experts, [N,K], [N] */
    int64_t index;       /* which of the E it is; 0 where the tensor is its own */
    int64_t paired_head; /* as awq__weight_blocks has it; 0: rows as they are */
    bool is_matrix;      /* it may have any type; else it is F32 */
} awq__gguf_place;
void awq__gguf_place_of(const awq__gguf_family *family, const awq__arch *arch,
                        const awq__module *module, bool bias, awq__gguf_place *place);

/* ---- gguf_keys.c, gguf_tokenizer.c ---- */

/* What the graph needs to know, from the description and config.json. */
awq_status awq__gguf_add_model(awq_context *ctx, const awq__arch *arch,
                               const awq__gguf_family *family, awq__gguf_values *values);
/* tokenizer.json, tokenizer_config.json and a chat template of a directory; a model without a
   tokenizer says so. AWQ_ERROR_UNSUPPORTED for a tokenizer that llama.cpp does not have. */
awq_status awq__gguf_add_tokenizer(awq_context *ctx, const char *directory, const awq__arch *arch,
                                   awq__gguf_values *values);

/* ---- gguf_format.c ---- */

/* The type of a matrix where the recipe leaves it open. */
const struct awq__block_type *awq__gguf_mix(const awq__module *module);

/* ---- gguf_config.c ---- */

/* What config.json would be, from a file's key values; the caller's to delete.
   AWQ_ERROR_UNSUPPORTED if the file's architecture is none of ours. */
awq_status awq__gguf_config(awq_context *ctx, const awq__gguf *gguf,
                            const awq__gguf_family **family, cJSON **config);

#endif
