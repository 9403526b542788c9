/* One quantization run, shared by the files that do its parts. */
#ifndef AWQ__JOB_H
#define AWQ__JOB_H

#include "core/limits.h"
#include "plan/rules.h"
#include "plan/settings.h"
#include "quant/gptq.h"
#include "quant/quant.h"
#include "stream/evaluate.h"

/* Where the time goes; the order of awq__stage_names. */
typedef enum awq__stage {
    AWQ__STAGE_SENSITIVITY,
    AWQ__STAGE_READ,
    AWQ__STAGE_FORWARD,
    AWQ__STAGE_STATISTICS,
    AWQ__STAGE_SCALES,
    AWQ__STAGE_PROOF,
    AWQ__STAGE_CLIP,
    AWQ__STAGE_WRITE,
    AWQ__STAGE_EVALUATE,
    AWQ__STAGE_CHECKSUMS,
    AWQ__STAGE_COUNT,
} awq__stage;
extern const char *const awq__stage_names[AWQ__STAGE_COUNT];

/* ---- model_plan.c ---- */

/* What the recipe does to a model: everything that is known before a weight is read. */
typedef struct awq__model_plan {
    awq__settings settings;
    awq_model *model; /* the source */
    awq__rules rules;
    const awq__disk_format *format;
    uint64_t undescribed_bytes; /* of tensors that the architecture does not describe */
} awq__model_plan;
awq_status awq__model_plan_create(awq_context *ctx, const awq_recipe *recipe,
                                  awq__model_plan *plan);
void awq__model_plan_free(awq__model_plan *plan);
/* The scheme of module `index`, which is quantized and whose weights are of this dtype. */
awq__scheme awq__model_plan_scheme(const awq__model_plan *plan, size_t index, awq_dtype dtype);
/* linears.c: quantization_config of the result; NULL without a failure if it has none. */
awq_status awq__model_plan_config(awq_context *ctx, const awq__model_plan *plan, cJSON **config);
/* Is it a matrix that a linear layer multiplies with? */
bool awq__role_is_linear(awq_role role);
/* plan_engines.c: AWQ_ERROR_RECIPE if the recipe's engine cannot load the result; warnings of what
   other engines or versions cannot. */
awq_status awq__model_plan_check_engine(awq_context *ctx, awq__model_plan *plan);
/* plan_warnings.c */
awq_status awq__model_plan_warn(awq_context *ctx, awq__model_plan *plan);
/* Does module `index` stay float, but with values changed by a fold that leaves the model's
 * function as it is? */
bool awq__model_plan_rescales(const awq__model_plan *plan, size_t index);

/* output_place.c: AWQ_ERROR_RECIPE if the output is, holds or lies in the model, or holds a file
   that the run reads, as it is named or while it is written. */
awq_status awq__check_output_place(awq_context *ctx, const awq_recipe *recipe,
                                   const awq_model *model);

/* ---- result.c: the tensors of the result ---- */

/* How the result stores the routed experts of a layer. */
typedef enum awq__experts_storage {
    AWQ__EXPERTS_BY_NAME,   /* each matrix by the name of its module */
    AWQ__EXPERTS_AS_SOURCE, /* in the source's fused tensors */
    AWQ__EXPERTS_PACKED,    /* in fused tensors of the format */
} awq__experts_storage;
awq__experts_storage awq__result_experts(const awq__model_plan *plan, int64_t layer);
/* The *count tensors that store module `index` alone, its bias last; none if it is part of a fused
   one. */
awq_status awq__result_specs(const awq__model_plan *plan, size_t index,
                             awq__spec specs[AWQ__MAX_SPECS], int *count);

/* A tensor that all experts of a layer share. */
typedef struct awq__fused_spec {
    char name[AWQ__FUSED_NAME_BYTES];
    awq_dtype dtype;
    int rank;
    int64_t shape[4];
} awq__fused_spec;
/* Those of a layer of a model with weights; none if its experts are stored by name. */
awq_status awq__result_fused(const awq__model_plan *plan, int64_t layer,
                             awq__fused_spec specs[AWQ__MAX_FUSED], int *count);
/* Is a tensor of the source in the result as it is because the architecture does not describe it?
   Not what it describes, nor a copy of the embedding as a head. */
awq_status awq__result_copies(awq_context *ctx, const awq__arch *arch, const awq__tensor *tensor,
                              bool *copies);
/* Bytes of the result that store module `index`. */
awq_status awq__result_bytes(const awq__model_plan *plan, size_t index, uint64_t *bytes);
/* Calls visit for each tensor of a layer of a model with weights; -1 is what comes before the
   layers, layer_count what comes after. Stops at the first failure. */
typedef awq_status (*awq__result_visit)(void *user, const char *name, awq_dtype dtype, int rank,
                                        const int64_t *shape);
awq_status awq__result_tensors(awq_context *ctx, const awq__model_plan *plan, int64_t layer,
                               awq__result_visit visit, void *user);

/* ---- the run ---- */

typedef struct awq__job {
    awq_context *ctx;
    const awq_recipe *recipe;
    awq__model_plan *plan;
    awq__output *output;
    awq__stream calibration; /* of the source model; unused for plain rounding */
    awq__sequences sequences;
    awq__evaluation evaluation; /* the result against the source */
    awq_model *result;          /* the partial output, opened for reading back */
    bool evaluate;
    bool tight;              /* memory is so scarce that what is freed goes back to the system */
    cJSON *journal;          /* journal.c */
    bool resumed;            /* an earlier run has left it */
    awq__json_builder built; /* whether the reports of layers in it are whole */
    cJSON *mixed;            /* that of the schemes that were chosen; NULL if none were */
    double sensitivity; /* share of the whole that the pass for a target takes; 0: there is none */
    double start_seconds, stage_seconds[AWQ__STAGE_COUNT];
    uint64_t stage_operations[AWQ__STAGE_COUNT]; /* of matrix products */
    awq__stage stage;
    double stage_start;
    uint64_t stage_first_operation;
} awq__job;

/* ---- memory.c ---- */

/* How many tokens go through the model, and how long the longest of their sequences are. */
typedef struct awq__memory_tokens {
    int64_t calibration, longest, windows, longest_window; /* windows: tokens of the evaluation */
} awq__memory_tokens;
/* As many as the recipe and the sizes of its files allow. */
awq__memory_tokens awq__memory_tokens_of(const awq__model_plan *plan);
/* Those that there are. */
awq__memory_tokens awq__memory_tokens_in(const awq__sequences *calibration,
                                         const awq__sequences *windows);

typedef struct awq__memory_need {
    double process; /* bytes of the program, without the context's arrays */
    double least;   /* most bytes of arrays at any time, with one worker of each loop */
    double usual;   /* the same with as many as there are threads */
} awq__memory_need;
/* Of a whole run, its evaluation included. */
awq_status awq__memory_need_of(awq_context *ctx, const awq__model_plan *plan,
                               const awq__memory_tokens *tokens, awq__memory_need *need);
/* From here on the context's loops have no more workers than the limit lets them. AWQ_ERROR_RECIPE,
   or AWQ_ERROR_MEMORY where the limit is not the recipe's, if even one worker would pass it: the
   message tells the limit that works. */
awq_status awq__memory_fit(awq_context *ctx, const awq__memory_need *need,
                           const awq__memory_limit *limit);
/* Bytes of arrays while files of calibration and evaluation are read. */
double awq__memory_of_corpora(const awq__model_plan *plan);
/* Before anything is read or computed: awq__memory_fit where not even the corpora can be read.
   Notes what the run will need, for a limit of the address space. */
awq_status awq__memory_begin(awq_context *ctx, const awq__model_plan *plan);
/* Is the limit so near that memory which is free must not stay with the process? */
bool awq__memory_is_tight(const awq__memory_need *need, const awq__memory_limit *limit);

/* ---- estimate.c ---- */

awq_status awq__estimate(awq_context *ctx, const awq__model_plan *plan,
                         const awq__memory_need *need, const awq__memory_limit *limit,
                         uint64_t result_bytes, awq_estimate *estimate);

/* ---- corpora.c ---- */

/* The sequences that the recipe calibrates with; none if nothing needs them. */
awq_status awq__job_load_calibration(awq__job *job);
/* Those that it evaluates on; none, and job->evaluate false, if it asks for no evaluation. */
awq_status awq__job_load_windows(awq__job *job, awq__sequences *windows);
/* Are the files of both there, of a kind that is read, and is there a first sequence? */
awq_status awq__look_at_data(awq_context *ctx, const awq__model_plan *plan);
/* AWQ_ERROR_RECIPE if sequences may be longer than the model knows positions. */
awq_status awq__check_lengths(awq_context *ctx, const awq__model_plan *plan);

/* ---- mixed.c ---- */

/* AWQ_ERROR_RECIPE if the recipe's target cannot be met whatever the weights are: a format with one
   scheme, schemes that do not fit, less than the smallest of them need. */
awq_status awq__target_check(awq_context *ctx, awq__model_plan *plan);
/* Gives each module of the job's plan that is to have one the scheme that keeps the recipe's
   target: a pass through the model measures what each does to the output of its layer. Does
   nothing where the recipe has no target. */
awq_status awq__job_choose_schemes(awq__job *job);

/* Enters a stage, books the time of the last, and tells the caller's progress callback. */
awq_status awq__job_enter(awq__job *job, awq__stage stage, int64_t layer, double share);

/* ---- quantize_attention.c, quantize_experts.c: one layer ---- */

/* Changes to a layer that wait to be written: weights with their multipliers, and changed norms. */
typedef struct awq__folded {
    awq__layer layer;                 /* a copy of the source's with multipliers and norms set */
    awq__expert *experts;             /* [expert_count] of that copy */
    float *attention_norm, *moe_norm; /* [H] */
    float *attention_scale, *attention_unscale; /* [H]; NULL: not folded */
    float *value_scale, *value_unscale;         /* [Q] columns of o; NULL: not folded */
    float *value_row_unscale;                   /* [KV] rows of v */
    float *moe_scale, *moe_unscale;             /* [H] */
    float *down_scale, *down_unscale; /* [expert_count, the largest I], an expert's own I used */
} awq__folded;
awq_status awq__folded_create(awq_context *ctx, const awq__layer *layer, awq__folded *folded);
void awq__folded_free(awq__folded *folded);
/* What stays of a norm's weight once a fold divides it by s: exact where s was rounded for it. */
float awq__fold_norm(awq_dtype dtype, float weight, float s);
/* Adds a search's outcome to a report: the ratio, or "identity". */
void awq__report_ratio(awq__json_builder *b, cJSON *object, const char *name,
                       const awq__found_scale *found, int64_t steps);

/* Searches, folds, proves, rounds and writes norm, q, k, v and o. hidden [T,H] is the calibration
   before the layer; unused for plain rounding. */
awq_status awq__quantize_attention(awq__job *job, const awq__layer *layer, awq__folded *folded,
                                   const float *hidden, cJSON *report);
/* The same for the norm, router and experts. job->calibration.hidden is the calibration after the
   attention, which leaves the layer, x its norm, routes its routes; all unused for plain rounding.
 */
awq_status awq__quantize_experts(awq__job *job, const awq__layer *layer, awq__folded *folded,
                                 const awq__routes *routes, cJSON *report);

/* ---- proof.c ---- */

typedef struct awq__proof {
    double largest_error;     /* of the block's output, relative to its largest magnitude */
    int64_t tokens, rerouted; /* rerouted: other experts than before, near-ties apart */
    double stored_agreement;  /* share of tokens with the same experts once norm and router are
                                 rounded to  their stored type */
} awq__proof;
/* Hidden states of tokens spread evenly, before the layer's experts: [*count,H], awq__free takes
   it. NULL without memory. */
float *awq__proof_sample(awq_context *ctx, const awq__stream *stream, int64_t H, int64_t *count);
/* Does the folded float block compute what the original does? hidden [T,H] is the input of its
   norm. Both fail with AWQ_ERROR_PROOF, naming the layer, if not. */
awq_status awq__prove_experts(awq__job *job, const awq__layer *original, const awq__layer *folded,
                              const float *hidden, int64_t T, awq__proof *proof);
awq_status awq__prove_attention(awq__job *job, const awq__layer *original, const awq__layer *folded,
                                const float *hidden, awq__proof *proof);

/* ---- store.c: what goes to the output by the names of modules ---- */

/* Writes a module that stays float, with its bias: bit for bit where the weight has no multipliers,
   else rounded to its stored type. */
awq_status awq__store_weight(awq__job *job, const awq__module *module, const awq__weight *weight);
awq_status awq__store_vector(awq__job *job, const awq__module *module, const float *values);
/* Rounds within range (or NULL) and writes, with its bias. */
awq_status awq__store_rounded(awq__job *job, const awq__module *module, const awq__weight *weight,
                              const awq__range *range);
/* Writes codes, and the bias of the weight that they stand for. */
awq_status awq__store_codes(awq__job *job, const awq__module *module, const awq__weight *weight,
                            const awq__codes *codes);
/* Share of the mean diagonal that GPTQ adds where tokens are plenty. */
#define AWQ__GPTQ_DAMPING 0.05
/* Rounds by GPTQ, with as much effort as the recipe asks for, to codes, which the caller frees. */
awq_status awq__store_compensate(awq__job *job, const awq__module *module,
                                 const awq__weight *weight, const awq__gptq *gptq,
                                 awq__codes *codes);
/* Rounds to codes, which the caller frees. */
awq_status awq__store_round(awq__job *job, const awq__module *module, const awq__weight *weight,
                            const awq__range *range, awq__codes *codes);
/* AWQ_ERROR_NUMERIC if a fold has made a value larger than the type holds. */
awq_status awq__store_check_range(awq_context *ctx, const char *name, awq_dtype dtype,
                                  const float *values, int64_t count);

/* ---- store_fused.c: what goes to tensors that experts share ---- */

/* One expert's part of its layer's fused tensors. codes [3]: of gate, up and down where they are
   quantized, or NULL to round within range [3]; each range may be NULL. */
awq_status awq__store_fused(awq__job *job, const awq__layer *layer, int64_t expert,
                            awq__range *const range[3], const awq__codes *codes);

/* ---- checksum.c ---- */

/* Of all tensors of a layer that are held, or, where held is NULL, are read for it: of -1, all that
   lies outside the layers. */
awq_status awq__source_hash(const awq_model *model, int64_t layer, awq__held *held, uint64_t *hash);
/* Of those of the result, as they are on disk. */
awq_status awq__written_hash(awq__job *job, int64_t layer, uint64_t *hash);

/* ---- journal.c: what lets an interrupted run go on ---- */

#define AWQ__HASH_TEXT 22 /* bytes, with the NUL */
/* "xxh3:0123456789abcdef" */
void awq__hash_text(uint64_t hash, char text[AWQ__HASH_TEXT]);

#define AWQ__ENDS "embedding, head or last norm" /* by which the journal has their hash */

/* Reads the journal of an earlier run in the partial directory, or begins one. AWQ_ERROR_FORMAT if
   it is damaged. With `restart` it is not looked at. */
awq_status awq__journal_open(awq__job *job, bool restart);
/* Makes durable what was written so far, then says so, beside the work that follows: a kill loses
   the layer in work and at most the one before it. */
awq_status awq__journal_write(awq__job *job);
/* Notes what the run is of, by name. AWQ_ERROR_EXISTS if that of an earlier run was another. */
awq_status awq__journal_agree(awq__job *job, const char *name, const char *value);
awq_status awq__journal_agree_hash(awq__job *job, const char *name, uint64_t hash);
/* What is known of a layer; NULL in a job without a journal, which is that of a plan. */
cJSON *awq__journal_layer(const awq__job *job, int64_t layer);
/* Notes the source's tensors of a layer, or sees that they are as they were. */
awq_status awq__journal_source(awq__job *job, awq__loaded_layer *loaded);
/* Has the layer been finished? */
bool awq__journal_has(const awq__job *job, int64_t layer);
/* Notes that it is finished, with its report, which is taken over. */
awq_status awq__journal_add(awq__job *job, int64_t layer, cJSON *report);
/* Is a finished layer on disk as it was written? A warning is logged if not. */
awq_status awq__journal_check(awq__job *job, int64_t layer, bool *whole);

/* ---- agreement.c ---- */

/* Of the ids; 0 where there are none. */
uint64_t awq__sequences_hash(const awq__sequences *sequences);
/* awq__journal_agree on all that is known before ids are read: version, plugin, files, recipe. */
awq_status awq__job_agree(awq__job *job);
awq_status awq__job_agree_on_ids(awq__job *job, const char *name, const awq__sequences *sequences);

/* ---- kernels.c ---- */

/* Adds the kernels that compute in this run to the journal's, with a warning where an interrupted
   run that it goes on with had others. */
awq_status awq__kernels_join(awq__job *job);
/* All of the journal, a list to be freed. NULL if there is no memory. */
cJSON *awq__kernels(const awq__job *job);

/* ---- report.c ---- */

struct awq_report {
    char *json, *output;
    uint64_t bytes_before, bytes_after;
    bool has_evaluation;
    awq_eval_result evaluation;
};
/* The report's text, without anything that differs from run to run. */
awq_status awq__report_create(awq__job *job, const awq_eval_result *evaluation,
                              awq_report **report);
/* The recipe as YAML without what does not change the result: `output` and `memory_limit`. */
awq_status awq__recipe_provenance(awq_context *ctx, const awq_recipe *recipe, awq__text *yaml);
/* Writes config.json with quantization_config, and the tokenizer's and generation's files. */
awq_status awq__write_side_files(awq__job *job);
/* Writes awq_provenance.json, once all layers are finished. */
awq_status awq__write_provenance(awq__job *job, const char *recipe_yaml);

/* ---- side_files.c ---- */

/* AWQ_ERROR_IO if one of the source's files that a result has too is a link out of the source. */
awq_status awq__side_files_check(awq_context *ctx, const awq_model *model);
/* Copies those that are there. */
awq_status awq__side_files_copy(awq__job *job);

#endif
