/* One file per on-disk format behind one small table. */
#ifndef AWQ__FORMAT_H
#define AWQ__FORMAT_H

#include "checkpoint/checkpoint.h"
#include "compute/codes.h"
#include "core/json.h"
#include "text/name_pattern.h"

#define AWQ__MAX_SPECS 7 /* the six of NF4, and a bias */

/* One tensor that stores (a part of) a module: its name is the module's and the suffix. */
typedef struct awq__spec {
    const char *suffix; /* ".qweight" */
    awq_dtype dtype;
    int rank;
    int64_t shape[4];
} awq__spec;

/* A linear of the result. */
typedef struct awq__treated {
    const char *name;
    const awq__scheme *scheme; /* a group of -1 is the whole row; NULL: stays float */
} awq__treated;

/* How a checkpoint says that modules are stored. */
typedef struct awq__stored_scheme {
    int bits;
    int64_t group; /* -1: the whole row */
    bool symmetric;
    /* GPTQ alone: zero points are stored less one; columns have groups in the order of their
       activations. */
    bool zeros_less_one, ordered;
    /* Not in codes, but in F8_E4M3 with scales, if the tensor is of that type: of blocks of so many
       rows and columns; 0: of the whole tensor or of each row, as there are. */
    bool fp8;
    int64_t block_rows, block_cols;
} awq__stored_scheme;

/* Modules that quantization_config names by patterns. */
typedef struct awq__stored_group {
    awq__name_pattern *patterns;
    size_t count;
    bool packed; /* else they are floats */
    awq__stored_scheme scheme;
} awq__stored_group;

/* What a quantization_config says. Zero-initialise; free with awq__stored_free. */
typedef struct awq__stored {
    awq__stored_group *groups; /* the first that matches counts */
    size_t count, capacity;
    bool has_rest; /* else what no group names is not quantized */
    awq__stored_scheme rest;
} awq__stored;
/* The scheme that is stored for a module; NULL if none is. */
awq_status awq__stored_find(awq_context *ctx, const awq__stored *stored, const char *module,
                            const awq__stored_scheme **scheme);
/* Appends a group without patterns, which the next function adds. */
awq_status awq__stored_add_group(awq_context *ctx, awq__stored *stored, bool packed,
                                 const awq__stored_scheme *scheme);
/* To the last group; see awq__name_pattern_create. */
awq_status awq__stored_add_pattern(awq_context *ctx, awq__stored *stored, const char *file,
                                   const char *text, awq__name_kind kind);
void awq__stored_free(awq__stored *stored);
/* AWQ_ERROR_UNSUPPORTED: what `key` of quantization_config is (NULL: missing), and what fits. */
awq_status awq__stored_refuse(awq_context *ctx, const char *file, const char *key,
                              const cJSON *item, const char *fits);

typedef struct awq__disk_format {
    const char *name;   /* of the recipe's `format` and of messages */
    const char *method; /* "quant_method" in config.json; NULL: it is not said there */
    /* All experts of a layer share tensors, by the architecture's fused names: gate_up with the
       rows of gate and up, and down. A spec is then of one expert's matrix; its suffix follows the
       fused name, its rows are interleaved as the architecture says, and [E] comes first. */
    bool fused;
    /* Whether modules of one checkpoint may have different schemes. */
    bool mixed;
    /* Weights of F8_E4M3 stay so beside codes: a treated linear may have a scheme of E4M3. */
    bool keeps_fp8;
    /* Weights in it may be the source of a run. */
    bool source;
    /* Tensors are those of llama.cpp, and blocks what they store. There is no config.json. What is
       below has what a plan needs alone: defaults, complete, check and specs. */
    bool gguf;

    /* ---- writing: all are NULL where no result has the format ---- */

    /* What a recipe's `auto` means for codes of so many bits; a group of 0 is the largest usual one
       that divides the columns. */
    void (*defaults)(int bits, bool *symmetric, int64_t *group);
    /* Sets the code, and the grid: which values the scale of a group of weights of this dtype may
       take. */
    void (*complete)(awq__scheme *scheme, awq_dtype dtype);

    /* AWQ_ERROR_RECIPE, naming the module, if the format cannot store [rows, cols] with the scheme.
     */
    awq_status (*check)(awq_context *ctx, const char *module, int64_t rows, int64_t cols,
                        const awq__scheme *scheme);
    /* The tensors that will store it; returns their number. */
    int (*specs)(int64_t rows, int64_t cols, const awq__scheme *scheme,
                 awq__spec specs[AWQ__MAX_SPECS]);
    /* Bit i: what spec number i stores follows from rows and columns alone. */
    unsigned constant;
    /* Packs the codes for spec number `index` into out, which has the spec's size. */
    void (*pack)(const awq__codes *codes, int index, void *out);
    /* The quantization_config object of all linears; some module is quantized. NULL, with the
       failure recorded, if memory is short or no list of names can tell different schemes apart. */
    cJSON *(*config)(awq_context *ctx, const awq__treated *modules, size_t count);

    /* ---- reading ---- */

    /* Checks quantization_config of `file`; the caller frees *stored, also after a failure. */
    awq_status (*read_config)(awq_context *ctx, const char *file, const cJSON *config,
                              awq__stored *stored);
    /* Finds the module's packed tensors and checks their shapes, and what is constant in them.
     *found false, and no failure, if it has none. The weight has data where `held` has it. */
    awq_status (*open)(awq_context *ctx, const awq__checkpoint *checkpoint, awq__held *held,
                       const awq__stored_scheme *stored, const char *module, int64_t rows,
                       int64_t cols, awq__weight *weight, bool *found);
} awq__disk_format;

/* By the recipe's name or by quant_method; NULL if unknown. */
const awq__disk_format *awq__disk_format_by_name(const char *name);
const awq__disk_format *awq__disk_format_by_method(const char *method);

extern const awq__disk_format awq__disk_format_awq;
extern const awq__disk_format awq__disk_format_compressed;
extern const awq__disk_format awq__disk_format_gptq;
extern const awq__disk_format awq__disk_format_mxfp4;
extern const awq__disk_format awq__disk_format_bitsandbytes;
extern const awq__disk_format awq__disk_format_gguf;
extern const awq__disk_format awq__disk_format_fp8; /* is only read */
/* auto_round.c: what auto-round says in its own words, and of which format the tensors are. The
   caller frees *stored, also after a failure. */
bool awq__is_auto_round(const char *quant_method);
awq_status awq__auto_round_read(awq_context *ctx, const char *file, const cJSON *config,
                                const awq__disk_format **format, awq__stored *stored);
/* The inverse of its pack, for tensors in memory; codes has been created with the shape. */
void awq__gemm_unpack(awq__codes *codes, const uint32_t *qweight, const uint32_t *qzeros,
                      const uint16_t *scales);

/* The same for compressed-tensors. weight_scale is of the type that goes with the scheme's grid and
   may be unaligned; weight_zero_point is of no meaning to symmetric codes. */
void awq__compressed_unpack(awq__codes *codes, const uint32_t *weight_packed,
                            const void *weight_scale, const uint32_t *weight_zero_point);
/* The same for GPTQ, both ways, with zero points less one, none of which is 0, or as they are. */
void awq__gptq_pack(const awq__codes *codes, bool less_one, uint32_t *qweight, uint32_t *qzeros,
                    uint16_t *scales);
void awq__gptq_unpack(awq__codes *codes, bool less_one, const uint32_t *qweight,
                      const uint32_t *qzeros, const uint16_t *scales);
/* And for MXFP4. */
void awq__mxfp4_unpack(awq__codes *codes, const uint8_t *blocks, const uint8_t *scales);

/* ---- fp8.c: weights in F8_E4M3 with scales ---- */

/* The tensor of the weights, and that of the scales of blocks of so many of its rows and columns,
   which make a grid. */
typedef struct awq__fp8_tensors {
    const awq__tensor *weight, *scale;
    int64_t block_rows, block_cols, grid_rows, grid_cols;
} awq__fp8_tensors;
/* Finds the tensor `name`, [R,C] or [E,R,C], and its scales, NAME_scale_inv or NAME_scale, and
   checks their types and shapes. *found false, and no failure, if it has no scales and is of
   another type. */
awq_status awq__fp8_find(awq_context *ctx, const awq__checkpoint *checkpoint,
                         const awq__stored_scheme *stored, const char *name, int rank,
                         const int64_t *shape, awq__fp8_tensors *tensors, bool *found);

/* The tensors that keep a matrix in F8_E4M3, as compressed-tensors has them; returns their number.
   dtype is that of the source's scales, and changes for E8M0. */
int awq__fp8_specs(int64_t rows, int64_t cols, const awq__scheme *scheme, awq_dtype dtype,
                   awq__spec specs[AWQ__MAX_SPECS]);

/* Bytes of one spec. */
uint64_t awq__spec_bytes(const awq__spec *spec);
/* Bytes of a tensor that is looked at, not computed with. */
#define AWQ__MAX_LOOK_BYTES ((size_t)1 << 30)
/* The module's tensor of that suffix, or NULL where there is none. */
awq_status awq__suffix_find(awq_context *ctx, const awq__checkpoint *checkpoint, const char *module,
                            const char *suffix, const awq__tensor **tensor);
/* "[96, 64]"; room for 8 numbers of 64 bits. */
#define AWQ__SHAPE_BYTES 256
const char *awq__shape_text(int rank, const int64_t *shape, char text[AWQ__SHAPE_BYTES]);
/* The module's tensor that a spec describes. AWQ_ERROR_FORMAT if it is missing or different. */
awq_status awq__spec_find(awq_context *ctx, const awq__checkpoint *checkpoint, const char *module,
                          const awq__spec *spec, const awq__tensor **tensor);

/* The names of modules in two lists, in the order of the modules: modules of one scheme (NULL: that
   stay float), and all others. Zero-initialise; the names are borrowed; free with
   awq__partition_free. */
typedef struct awq__partition {
    const char **in, **out;
    size_t in_count, out_count;
} awq__partition;
awq_status awq__partition_create(awq_context *ctx, const awq__treated *modules, size_t count,
                                 const awq__scheme *scheme, awq__partition *partition);
void awq__partition_free(awq__partition *partition);
/* Are these the same on disk? */
bool awq__same_scheme(const awq__scheme *a, const awq__scheme *b);
/* A scheme, and how many modules have it. */
typedef struct awq__scheme_use {
    const awq__scheme *scheme;
    size_t count, first; /* first: its first module */
} awq__scheme_use;
/* The different schemes, the most used first. The caller frees *out, also after a failure. */
awq_status awq__scheme_uses(awq_context *ctx, const awq__treated *modules, size_t count,
                            awq__scheme_use **out, size_t *use_count);

/* Frees the names and the list; takes NULL. */
void awq__name_list_free(char **list, size_t count);
/* Adds the names to a config as the array `key`, and frees them. */
awq_status awq__config_names(awq_context *ctx, cJSON *config, const char *key, char **list,
                             size_t count);

/*
 * A short list that tells kept names from quantized ones. Readers of it skip each name of `kept`
 * and none of `quantized`, whether they look for an entry anywhere in a name, at its end, or, as a
 * regular expression, at its beginning. If all experts of a layer are kept, readers also skip the
 * name that engines have for all of them ("model.layers.0.mlp.experts").
 *
 * A kept name that no earlier entry covers adds its last component if that is safe, else more of
 * its end, at last all of it. An ending with the number of a layer or an expert is replaced by a
 * beginning of two components or more that more kept names have ("model.layers.0.mlp."). The caller
 * frees the list and each entry. AWQ_ERROR_RECIPE if a whole kept name is part of a quantized one.
 */
awq_status awq__skip_list(awq_context *ctx, const char *const *kept, size_t kept_count,
                          const char *const *quantized, size_t quantized_count, char ***list,
                          size_t *count);

/*
 * The same for compressed-tensors. Its readers match whole names, or, after "re:", a regular
 * expression from the beginning of a name. An entry is an ending of whole components, in every
 * spelling that engines have for them ("mlp" for "block_sparse_moe"), or a name without a dot.
 *
 * An ending with a number, or of the name of all experts, is replaced by components from the middle
 * of names, with all that lies under them ("layers.0.mlp", "experts.1"). These never begin with the
 * first component alone, because engines put others before it. Entries that differ only in their
 * last number become one. AWQ_ERROR_RECIPE if a kept name is a quantized one in some spelling.
 */
awq_status awq__ignore_list(awq_context *ctx, const char *const *kept, size_t kept_count,
                            const char *const *quantized, size_t quantized_count, char ***list,
                            size_t *count);

/*
 * The same for MXFP4, whose readers match beginnings of names. Components that are numbers become
 * "*". A name is replaced by its shortest beginning, of two components or more, under which nothing
 * is quantized. AWQ_ERROR_RECIPE if a quantized module of some layer lies under a kept name.
 */
awq_status awq__star_list(awq_context *ctx, const char *const *kept, size_t kept_count,
                          const char *const *quantized, size_t quantized_count, char ***list,
                          size_t *count);

/*
 * Adds `dynamic` to a config of GPTQ: rules by regular expressions like those of the ignore list.
 * The first rule that matches from the beginning of a name counts. Rules keep what is kept, and
 * give every scheme but the first its bits and group size. Engines ask for several modules by one
 * name (all experts of a layer; q, k and v; gate and up); the rules match that name too.
 */
awq_status awq__dynamic_rules(awq_context *ctx, const awq__treated *modules, size_t count,
                              const awq__scheme_use *uses, size_t use_count, cJSON *config);

/*
 * A skip list for bitsandbytes. Some of its readers find an entry at the end of a name, some before
 * a dot in it, some, as a regular expression, at its beginning. An entry is the last component of a
 * name or the whole name, which all of them find. A kept q_proj or gate_proj adds qkv_proj or
 * gate_up_proj, by which some engines ask for it. A layer whose experts are all kept adds one entry
 * for all of them. AWQ_ERROR_RECIPE if a whole kept name is found in a quantized one.
 */
awq_status awq__leaf_list(awq_context *ctx, const char *const *kept, size_t kept_count,
                          const char *const *quantized, size_t quantized_count, char ***list,
                          size_t *count);

/* ---- compressed_config.c ---- */

awq_status awq__compressed_read_config(awq_context *ctx, const char *file, const cJSON *config,
                                       awq__stored *stored);

/* ---- bitsandbytes_specs.c, bitsandbytes_read.c ---- */

/* The tensors of NF4, in the order of their specs, and of LLM.int8. */
enum {
    AWQ__NF4_WEIGHT,
    AWQ__NF4_ABSMAX,
    AWQ__NF4_MAP,
    AWQ__NF4_STATE,
    AWQ__NF4_NESTED_ABSMAX,
    AWQ__NF4_NESTED_MAP
};
enum { AWQ__INT8_WEIGHT, AWQ__INT8_ROW_MAXIMA, AWQ__INT8_LAYOUT };

int awq__bitsandbytes_specs(int64_t rows, int64_t cols, const awq__scheme *scheme,
                            awq__spec specs[AWQ__MAX_SPECS]);
/* The JSON that says how NF4 codes of [rows, cols] are stored; enough room for the largest sizes.
   Returns its length. */
#define AWQ__NF4_STATE_BYTES 256
int awq__nf4_print_state(int64_t rows, int64_t cols, awq_dtype dtype, float offset,
                         char text[AWQ__NF4_STATE_BYTES]);
/* Bytes that have room for it with every type: readers of JSON take spaces behind it. */
int64_t awq__nf4_state_bytes(int64_t rows, int64_t cols);
awq_status awq__bitsandbytes_read_config(awq_context *ctx, const char *file, const cJSON *config,
                                         awq__stored *stored);
awq_status awq__bitsandbytes_open(awq_context *ctx, const awq__checkpoint *checkpoint,
                                  awq__held *held, const awq__stored_scheme *stored,
                                  const char *module, int64_t rows, int64_t cols,
                                  awq__weight *weight, bool *found);

#endif
