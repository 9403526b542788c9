/* What each serving engine can load, and the nearest recipe whose result it loads. */
#ifndef AWQ__ENGINES_H
#define AWQ__ENGINES_H

#include "arch/arch.h"
#include "compute/compute.h"

/* Of the recipe's `engine`. */
#define AWQ__ENGINE_CHOICES "vllm|sglang|transformers|llama.cpp|tensorrt-llm|any"

/* One linear of the result. */
typedef struct awq__engine_module {
    const char *name;
    awq_role role;
    awq__part part;
    int64_t layer, expert; /* -1 for none */
    int64_t rows, cols;    /* N, K */
    /* NULL: stays float. A group of -1 is the whole row. Blocks that are copied have theirs. */
    const awq__scheme *scheme;
} awq__engine_module;

typedef struct awq__engine_facts {
    const char *format;     /* of the recipe; not "auto" */
    const char *model_type; /* of config.json */
    bool native_mxfp4;      /* the architecture's own releases have experts in MXFP4 */
    int64_t hidden;
    int64_t tensor_parallel; /* devices that share each matrix, from 1 */
    /* In the model's order: those of a layer stand together, and in it q, k and v, and gate and up
       of one MLP. */
    const awq__engine_module *modules;
    size_t module_count;
} awq__engine_facts;

/* Of a linear, with a scheme or NULL. */
awq__engine_module awq__engine_module_of(const awq__module *of, const awq__scheme *scheme);
/* Do the architecture's own releases have experts in MXFP4? */
bool awq__has_native_mxfp4(const awq__arch *arch);

/* How much a row of the table matters, the worst first. */
typedef enum awq__engine_level {
    AWQ__ENGINE_REFUSES, /* the newest versions do not load it */
    AWQ__ENGINE_OLD,     /* only older versions do not */
    AWQ__ENGINE_NOTE,    /* it loads, but slower or larger than it could be */
} awq__engine_level;

typedef struct awq__finding {
    bool refused; /* else a warning */
    awq__engine_level level;
    size_t row;   /* of the table */
    char *reason; /* one line: the module, what was found, what the engine takes */
    /* What to change in the recipe, "quantize.symmetric: true, quantize.group_size: 64": with it no
       row of this level or a worse one applies to the engine. NULL if nothing helps. */
    char *remedy;
    const char *engine, *versions, *source; /* the row's; versions "" for all that were read */
} awq__finding;

typedef struct awq__findings {
    awq__finding *items; /* at most one for each row; by engine, then as the table has them */
    size_t count, capacity;
} awq__findings;

/*
 * What the engine, one of AWQ__ENGINE_CHOICES, makes of such a result. A finding of level REFUSES
 * is refused if the engine was asked for by name. "any" refuses nothing and finds for each engine
 * what keeps its newest versions from loading the result, or, if nothing does, older ones.
 * AWQ_ERROR_ARGUMENT for an engine or a format of no row. On failure *findings is empty.
 */
awq_status awq__engines_check(awq_context *ctx, const char *engine, const awq__engine_facts *facts,
                              awq__findings *findings);
/* Takes a cleared one too. */
void awq__findings_free(awq__findings *findings);

/* ---- the table, for documentation ---- */

typedef struct awq__engine_row_text {
    const char *engine;   /* as it calls itself: "vLLM" */
    const char *versions; /* "before 0.23"; "" for all that were read */
    const char *formats;  /* "awq|gptq" */
    const char *level;    /* "refused", "refused by these versions", "note" */
    const char *source;
    char *constraint; /* the caller's, for awq__free */
} awq__engine_row_text;

size_t awq__engine_row_count(void);
/* index is below the count. */
awq_status awq__engine_row_at(awq_context *ctx, size_t index, awq__engine_row_text *text);

#endif
