/* One quantization run, shared by the files that do its parts. */
#ifndef AWQ__JOB_H
#define AWQ__JOB_H

#include "plan/engines.h"
#include "backend/driver.h"
#include "core/limits.h"
#include "layer/quantize.h"
#include "stream/evaluate.h"
#include "write/journal.h"

/* ---- plan_model.c ---- */

awq_status awq__model_plan_create(awq_context *ctx, const awq_recipe *recipe,
                                  awq__model_plan *plan);
/* Settings and model alone, without any treatment. AWQ_ERROR_RECIPE for a model that is in GGUF or
   quantized. awq__model_plan_free also after a failure. */
awq_status awq__model_plan_open(awq_context *ctx, const awq_recipe *recipe, awq__model_plan *plan);
/* types.c: the block types of a GGUF result. AWQ_ERROR_RECIPE for types that the format does not
   have, AWQ_ERROR_UNSUPPORTED for a model that GGUF cannot say. */
awq_status awq__choose_types(awq_context *ctx, awq__model_plan *plan);
/* Which engines load the result: see awq__engines_check. Free them with awq__findings_free. */
awq_status awq__model_plan_findings(awq_context *ctx, const awq__model_plan *plan,
                                    const char *engine, awq__findings *findings);
/* plan_engines.c: AWQ_ERROR_RECIPE if the recipe's engine cannot load the result; warnings of what
   other engines or versions cannot. */
awq_status awq__model_plan_check_engine(awq_context *ctx, awq__model_plan *plan);
/* plan_warnings.c */
awq_status awq__model_plan_warn(awq_context *ctx, awq__model_plan *plan);
/* output_place.c: AWQ_ERROR_RECIPE if the output is, holds or lies in the model, or holds a file
   that the run reads, as it is named or while it is written. */
awq_status awq__check_output_place(awq_context *ctx, const awq_recipe *recipe,
                                   const awq_model *model);

/* ---- plan_groups.c ---- */

/* Modules whose names differ only in numbers, and that have the same treatment. */
typedef struct awq__plan_grouped {
    awq_plan_group shown;
    char *pattern, *treatment;
    double weights;
    awq__text layers;    /* without the last range */
    int64_t first, last; /* the last range of layers; first is -1 before it */
} awq__plan_grouped;
typedef struct awq__plan_groups {
    awq__plan_grouped *list;
    size_t count, capacity;
    uint64_t before, after; /* bytes of all tensors */
} awq__plan_groups;
/* Zero-initialised groups; free them also after a failure. */
awq_status awq__plan_groups_find(awq_context *ctx, const awq__model_plan *plan,
                                 awq__plan_groups *groups);
void awq__plan_groups_free(awq__plan_groups *groups);

/* ---- job.c ---- */

typedef struct awq__job {
    awq_context *ctx;
    const awq_recipe *recipe; /* for its agreement and provenance; NULL in a plan */
    awq__model_plan *plan;
    awq__writer writer;
    awq__small_scales small_scales;
    awq__journal journal;
    awq__quantizer quantizer;
    awq__stages stages;
    awq__sequences sequences;   /* of the calibration */
    awq__evaluation evaluation; /* the result against the source */
    awq_model *result;          /* the partial output, opened for reading back */
    bool evaluate;
    cJSON *mixed; /* the report of the schemes that were chosen; NULL if none were */
} awq__job;
/* Begins a job, which refers to itself and must not be moved. The plan is borrowed. `sensitivity`:
 * the share of the whole run that the pass for a target takes. */
void awq__job_begin(awq_context *ctx, awq__model_plan *plan, double sensitivity, awq__job *job);
void awq__job_free(awq__job *job);

/* ---- memory.c ---- */

/* How many tokens go through the model, and how long the longest of their sequences are. */
typedef struct awq__memory_tokens {
    int64_t calibration, longest, windows, longest_window; /* windows: tokens of the evaluation */
} awq__memory_tokens;
/* At most as many as the recipe and the sizes of its files allow. */
awq__memory_tokens awq__memory_tokens_of(const awq__model_plan *plan);
/* Exactly as many as were read. */
awq__memory_tokens awq__memory_tokens_in(const awq__sequences *calibration,
                                         const awq__sequences *windows);

typedef struct awq__memory_need {
    double process; /* bytes of the program, without the context's arrays */
    double least;   /* most bytes of arrays at any time, with one worker of each loop */
    double usual;   /* the same with as many as there are threads */
} awq__memory_need;
/* The memory of a whole run, its evaluation included. */
awq_status awq__memory_need_of(awq_context *ctx, const awq__model_plan *plan,
                               const awq__memory_tokens *tokens, awq__memory_need *need);
/* The memory of an evaluation by itself. reference may be NULL. */
awq_status awq__memory_need_of_evaluation(awq_context *ctx, const awq_model *judged,
                                          const awq_model *reference,
                                          const awq__memory_tokens *tokens, awq__memory_need *need);
/* Limits the workers of the context's loops to what fits in memory. Fails if even one worker would
 * not fit: AWQ_ERROR_RECIPE for the recipe's limit, else AWQ_ERROR_MEMORY. The message names a
 * limit that works. */
awq_status awq__memory_fit(awq_context *ctx, const awq__memory_need *need,
                           const awq__memory_limit *limit);
/* Bytes of arrays while files of calibration and evaluation are read. */
awq_status awq__memory_of_corpora(const awq__model_plan *plan, double *bytes);
/* The limit of awq__memory_fit is for one call of the public functions. */
void awq__memory_end(awq_context *ctx);
/* Called before anything is read or computed: awq__memory_fit for the case that not even the
 * corpora can be read. Notes what the run will need, for a limit of the address space. */
awq_status awq__memory_begin(awq_context *ctx, const awq__model_plan *plan);
/* Is memory so scarce that freed memory must be given back to the system? */
bool awq__memory_is_tight(const awq__memory_need *need, const awq__memory_limit *limit);

/* ---- grams.c ---- */

/* Rows of the gram of a module's input, which `seen` tokens reach: all columns, or a sketch, which
   has no more than there are tokens. */
double awq__gram_rows(const awq__model_plan *plan, const awq__module *module, double seen);
/* Of linears that read one vector, the first alone. */
bool awq__has_own_gram(awq__part part);

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
/* Chooses schemes within the recipe's target for the modules of the job's plan. A pass through the
 * model measures what each scheme does to the output of its layer. Does nothing where the recipe
 * has no target. */
awq_status awq__job_choose_schemes(awq__job *job);

/* ---- agreement.c ---- */

/* The hash of the ids; 0 where there are none. */
uint64_t awq__sequences_hash(const awq__sequences *sequences);
/* awq__journal_agree on all that is known before ids are read: version, plugin, files, recipe. */
awq_status awq__job_agree(awq__job *job);
awq_status awq__job_agree_on_ids(awq__job *job, const char *name, const awq__sequences *sequences);

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
/* base_model.c: the name of the model in this directory, of letters, digits and "._/-", the
 *caller's; on_hub: it is that of a repository on the Hugging Face Hub. */
awq_status awq__base_model(awq_context *ctx, const char *directory, char **name, bool *on_hub);
/* Is it a letter, a digit or one of others? */
bool awq__is_name_letter(char letter, const char *others);
/* page.c: writes awq_report.html, once report and provenance are written. */
awq_status awq__write_page(awq__job *job);
/* card.c: writes README.md, the model card. */
awq_status awq__write_card(awq__job *job, const awq_report *report);
/* Writes awq_provenance.json, once all layers are finished. */
awq_status awq__write_provenance(awq__job *job, const char *recipe_yaml);

#endif
