/*
 * awq/awq.h - quantizes a checkpoint directory: open it, describe what is
 * wanted in a recipe, see the plan, quantize, evaluate. For matrices in memory
 * there is awq/tensor.h.
 *
 * Threads: a context and everything made from it belong to one thread at a
 * time; different contexts may be used at once. Work inside a call is spread over
 * the context's threads. The library does its own scheduling: the first call that
 * computes sets OpenBLAS to one thread for the whole process. That is the one
 * change that the library makes to its process. An OpenBLAS that runs on OpenMP is
 * left alone: OpenMP's number of threads stays the host's.
 *
 * Ownership: the caller owns what comes back through the last `**out` argument, and frees it with
 * the matching function, which takes NULL. On failure *out is NULL. What is returned directly is
 * borrowed from its object.
 *
 * Errors: every function that can fail returns a status, and awq_context_message gives the message.
 * NULL for an argument that is needed is AWQ_ERROR_ARGUMENT; a function without a status returns 0,
 * NULL or "" then. Nothing here prints, ends the process, or reads the environment (except that
 * OpenMP's own runtime honours OMP_NUM_THREADS).
 *
 * Structs of options begin with their size. A program that was compiled with an older version has
 * shorter structs: members that it does not know have their default, 0. In a longer struct, all
 * members that this version does not know must be 0. Set all else to 0 too.
 */
#ifndef AWQ_AWQ_H
#define AWQ_AWQ_H

#include "awq/types.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------ context */

typedef struct awq_context awq_context;

/* AWQ_ERROR_MEMORY is the only failure, and leaves no context to ask for a message. */
AWQ_API awq_status awq_context_create(awq_context **out);
AWQ_API void awq_context_free(awq_context *ctx);
/* One line about the last call that failed; "" after a call that succeeded. Valid until the next
   call with this context. */
AWQ_API const char *awq_context_message(const awq_context *ctx);
/* Both are silent until set; NULL silences again. */
AWQ_API void awq_context_set_log(awq_context *ctx, awq_log_fn log, void *user);
AWQ_API void awq_context_set_progress(awq_context *ctx, awq_progress_fn progress, void *user);
/* 1 to 1024; 0 is what OpenMP would use, the default. Results do not depend on it. */
AWQ_API awq_status awq_context_set_threads(awq_context *ctx, int threads);
AWQ_API int awq_context_threads(const awq_context *ctx);
/* Adds a plugin file, or a directory that is searched for awq-arch-*.so and awq-compute-*.so, in
   the order of the calls. Nothing is loaded yet. A file is loaded later if it is a whole shared
   object for this machine and can be trusted; else awq_plugin_list tells the reason. Trusted means
   two things. File and directory belong to root, to the effective user or to the owner of libawq.
   And not every user may write the file or a directory above it (except a sticky directory above
   it). */
AWQ_API awq_status awq_context_add_plugin_path(awq_context *ctx, const char *path);
/* Adds an architecture that is linked into the program. `plugin` is a `const awq_plugin *` of
   awq/plugin.h; it is checked like a loaded one, and must outlive the context. */
AWQ_API awq_status awq_context_add_plugin(awq_context *ctx, const void *plugin);

/* ------------------------------------------------------------------ what computes */

/*
 * OpenBLAS computes matrix products; all other loops are the library's own. When OpenBLAS is loaded
 * it chooses kernels for the processor it finds. For some processors that it does not know it takes
 * its oldest kernels: then products are several times slower than they could be.
 *
 * The first call of a context that computes logs a warning of that, with the remedy. The first one
 * in a process also compares products of all shapes with exact ones, in a few milliseconds. It
 * fails with AWQ_ERROR_UNSUPPORTED and a remedy if one is wrong: some builds of OpenBLAS compute
 * wrongly on processors that are younger than they. Where the address space is limited (RLIMIT_AS),
 * it fails with AWQ_ERROR_MEMORY if OpenBLAS has no room for its buffers. If there is room for
 * these alone, fewer threads work, with a warning. Calls that compute are awq_quantize,
 * awq_evaluate, awq_plan_create with a target, awq_plan_estimate and awq_statistics_create.
 */
typedef struct awq_compute_info {
    const char *table;       /* the loops: "cpu-avx512", "cpu-avx2" or "cpu" */
    const char *blas;        /* "OpenBLAS 0.3.21" */
    const char *core;        /* the processor whose kernels it took: "SkylakeX" */
    const char *threading;   /* how it would use several threads, which it is never asked to:
                                "POSIX threads", "OpenMP" or "one thread" */
    const char *better_core; /* "" where the core fits the processor; else what OPENBLAS_CORETYPE
                                should be in the environment when the process starts */
} awq_compute_info;
/* Computes nothing. The texts stay for ever. */
AWQ_API void awq_compute_describe(awq_compute_info *info);

/* One device that was found, or a file or device that was refused. */
typedef struct awq_device_info {
    const char *path;       /* of its plugin, awq-compute-NAME.so */
    const char *id;         /* "cuda:0"; "" where the whole file is refused */
    const char *name;       /* "NVIDIA H100 80GB HBM3"; "" when refused */
    const char *capability; /* "compute capability 9.0"; "" when refused */
    const char *version;    /* of what the plugin stands on: "CUDA 13.0" */
    uint64_t memory_bytes, free_bytes;
    const char *error; /* "" or why it was refused: no driver, no device, another version */
} awq_device_info;

typedef struct awq_device_list awq_device_list;
/* Finds, loads and checks the plugins of devices in the context's plugin paths, and asks them for
   their devices. A refused file is an entry, not a failure. The processor is not in the list. */
AWQ_API awq_status awq_device_list_create(awq_context *ctx, awq_device_list **out);
AWQ_API void awq_device_list_free(awq_device_list *list);
AWQ_API size_t awq_device_list_count(const awq_device_list *list);
/* NULL past the end. */
AWQ_API const awq_device_info *awq_device_list_at(const awq_device_list *list, size_t index);

/* ------------------------------------------------------------------ plugins */

/* One architecture plugin that was found, or a file that was refused. */
typedef struct awq_plugin_info {
    const char *path;        /* "(linked)" for one added by awq_context_add_plugin */
    const char *id;          /* "mixtral"; "" when refused */
    const char *version;     /* of the plugin; "" when refused */
    const char *model_types; /* comma-separated; "" when refused */
    const char *error;       /* "" or why it was refused */
} awq_plugin_info;

typedef struct awq_plugin_list awq_plugin_list;
/* Finds, loads and checks every plugin. A refused file is an entry, not a failure. */
AWQ_API awq_status awq_plugin_list_create(awq_context *ctx, awq_plugin_list **out);
AWQ_API void awq_plugin_list_free(awq_plugin_list *list);
AWQ_API size_t awq_plugin_list_count(const awq_plugin_list *list);
/* NULL past the end. */
AWQ_API const awq_plugin_info *awq_plugin_list_at(const awq_plugin_list *list, size_t index);

/* ------------------------------------------------------------------ recipe */

/*
 * A recipe is a set of named options with text values. The table of options, with
 * type, default, bounds and help, is the library's own.
 */
typedef enum awq_option_type {
    AWQ_OPTION_TEXT,
    AWQ_OPTION_PATH, /* taken relative to the base directory of the value */
    AWQ_OPTION_INTEGER,
    AWQ_OPTION_BOOLEAN, /* true | false */
    AWQ_OPTION_CHOICE,  /* one of `choices` */
    AWQ_OPTION_SIZE,    /* bytes: 1048576, 500MB, 5GB, 2GiB */
    AWQ_OPTION_TEXT_LIST,
    AWQ_OPTION_PATH_LIST,
    AWQ_OPTION_CHOICES, /* one or more of `choices`, with commas between */
    AWQ_OPTION_NUMBER,  /* a decimal number, as 4.25; bounds are whole */
    AWQ_OPTION_INDICES, /* "0-3,-1", "even", "::2": -1 is the last */
} awq_option_type;

typedef struct awq_option {
    const char *name; /* "calibration.samples" */
    awq_option_type type;
    const char *fallback;     /* the default as text; "" where there is none */
    const char *choices;      /* "awq|rtn" for CHOICE and CHOICES, else "" */
    int64_t minimum, maximum; /* INTEGER, SIZE and NUMBER */
    bool required;
    const char *help; /* one sentence */
} awq_option;

/* The whole table, in the order of a well-written recipe. */
AWQ_API const awq_option *awq_option_list(size_t *count);
/* NULL if there is no such option. */
AWQ_API const awq_option *awq_option_find(const char *name);
/* The option whose name is nearest by edit distance, for "did you mean". Never NULL. */
AWQ_API const awq_option *awq_option_nearest(const char *name);

/* An option of earlier versions, or one of its values, that is no longer there. */
typedef struct awq_removed_option {
    const char *name;  /* also "bits" and the like, of rules */
    const char *value; /* "": the option is gone with all its values */
    const char *since; /* the first version without it: "0.2.0" */
    const char *why;   /* for messages: a sentence without its full stop */
} awq_removed_option;
/* Tells about an option, and a value of it or NULL, that earlier versions took and this one does
   not. NULL if no version took them. */
AWQ_API const awq_removed_option *awq_option_removed(const char *name, const char *value);

typedef struct awq_recipe awq_recipe;
AWQ_API awq_status awq_recipe_create(awq_context *ctx, awq_recipe **out);
AWQ_API void awq_recipe_free(awq_recipe *recipe);
/* Names the file that the recipe was read from, so that the output cannot replace it; NULL: none.
   The file is not opened. */
AWQ_API awq_status awq_recipe_set_source(awq_recipe *recipe, const char *path);
/* Sets one value; for a list, the whole list becomes this one value. A relative path is taken from
   base_dir (NULL: the working directory). AWQ_ERROR_ARGUMENT for an unknown name or a value
   outside the option's bounds: the recipe is unchanged, and the message says what is allowed, or
   why an option of earlier versions is gone. */
AWQ_API awq_status awq_recipe_set(awq_recipe *recipe, const char *name, const char *value,
                                  const char *base_dir);
/* Adds one value to a list, which is empty (not the default) after the first clear. */
AWQ_API awq_status awq_recipe_append(awq_recipe *recipe, const char *name, const char *value,
                                     const char *base_dir);
/* Makes a list empty, or puts another option back to its default. */
AWQ_API awq_status awq_recipe_clear(awq_recipe *recipe, const char *name);
/* How many values an option has: 0 for one that is unset and has no default. */
AWQ_API size_t awq_recipe_count(const awq_recipe *recipe, const char *name);
/* The value, or the default, as text; NULL past the end or for an unknown name. */
AWQ_API const char *awq_recipe_get(const awq_recipe *recipe, const char *name, size_t index);

/*
 * Rules treat some modules in another way than quantize.* says. The first rule that matches a
 * module counts. A rule has selectors, all of which must match, and a treatment; what the treatment
 * leaves open is as quantize.* has it. A module that no rule matches is quantized if
 * quantize.modules names it.
 */
/* What a rule may say: names such as "layers" and "bits", in the order of a well-written rule. */
AWQ_API const awq_option *awq_rule_option_list(size_t *count);
AWQ_API const awq_option *awq_rule_option_find(const char *name);
AWQ_API const awq_option *awq_rule_option_nearest(const char *name);
/* Appends an empty rule, the last. */
AWQ_API awq_status awq_recipe_add_rule(awq_recipe *recipe);
AWQ_API size_t awq_recipe_rule_count(const awq_recipe *recipe);
/* Errors as awq_recipe_set; AWQ_ERROR_ARGUMENT also if there is no such rule. */
AWQ_API awq_status awq_recipe_rule_set(awq_recipe *recipe, size_t rule, const char *name,
                                       const char *value);
/* NULL where the rule does not say. */
AWQ_API const char *awq_recipe_rule_get(const awq_recipe *recipe, size_t rule, const char *name);

/* ------------------------------------------------------------------ model */

typedef struct awq_model awq_model;

typedef enum awq_role {
    AWQ_ROLE_OTHER,
    AWQ_ROLE_EMBEDDING,
    AWQ_ROLE_NORM,
    AWQ_ROLE_ATTENTION,
    AWQ_ROLE_ROUTER,
    AWQ_ROLE_EXPERT,
    AWQ_ROLE_SHARED_EXPERT,
    AWQ_ROLE_MLP,
    AWQ_ROLE_HEAD,
} awq_role;

/* "expert", "shared_expert", ...; "?" outside the enum. */
AWQ_API const char *awq_role_name(awq_role role);

/* One module: a matrix or vector with the tensors that store it. */
typedef struct awq_module {
    const char *name; /* "model.layers.0.block_sparse_moe.experts.3.w1", no ".weight" */
    awq_role role;
    int64_t layer;          /* -1 outside the layers */
    int64_t rows, columns;  /* as a linear: out and in features; columns 1 for a vector */
    const char *storage;    /* "BF16", "int4 g128" */
    double bits_per_weight; /* all stored bytes of the module over its weights */
    uint64_t bytes;
    bool quantized;
} awq_module;

/*
 * Opens a checkpoint directory, plain or quantized, with the plugin that serves its model_type.
 * `plugin` names one by id where several do; NULL or "" otherwise. JSON must be that of RFC 8259,
 * in UTF-8 without a byte order mark, nested at most 100 deep. Only config.json may hold NaN and
 * Infinity, which Python writes; the result has them as they are spelled. This call reads the
 * headers of the files, and what some formats store once for all weights. Weights are read when
 * they are needed, a layer at a time. A file is opened for each reading and never mapped: if it has
 * shrunk or cannot be read by then, that call fails with AWQ_ERROR_IO.
 *
 * A model whose weights are not on disk is described by its config.json. `path` is then a directory
 * that has a config.json and no file of weights, or the path of a config.json itself, whatever lies
 * beside it. Its modules are told as they would be stored: plain, of config.json's dtype (or
 * torch_dtype; BF16 where it says nothing), or with the quantization_config of mxfp4. Such a model
 * can be planned; awq_quantize and awq_evaluate refuse it with AWQ_ERROR_IO. A checkpoint that is
 * there in part is an error.
 */
AWQ_API awq_status awq_model_open(awq_context *ctx, const char *path, const char *plugin,
                                  awq_model **out);
AWQ_API void awq_model_free(awq_model *model);
AWQ_API size_t awq_model_module_count(const awq_model *model);
/* In the model's order. NULL past the end. */
AWQ_API const awq_module *awq_model_module(const awq_model *model, size_t index);

/* What the architecture says, for display. */
typedef struct awq_model_info {
    const char *directory, *model_type, *plugin,
        *quantization; /* quantization "" for a plain one */
    int64_t layer_count, hidden_size, vocabulary_size, expert_count, experts_per_token;
    uint64_t bytes;   /* of all tensors */
    uint64_t weights; /* number of weights of all modules, quantized or not */
    bool described; /* no weights are on disk: all is by config.json, bytes is what they would be */
} awq_model_info;
AWQ_API void awq_model_describe(const awq_model *model, awq_model_info *info);

/* ------------------------------------------------------------------ plan */

/* What happens to modules that share a pattern and a treatment. */
typedef struct awq_plan_group {
    const char *pattern; /* module names with their numbers as *, e.g. model.layers.*.mlp.gate */
    awq_role role;
    const char *layers; /* the layers of the modules: "0-3,47"; "" outside the layers */
    uint64_t count;     /* modules */
    /* "awq int4 g128 asymmetric, clip"; "keep BF16", bit for bit; or "rescale BF16" of modules that
       stay float but take up the scales of their neighbours */
    const char *treatment;
    bool quantized;
    double bits_per_weight;
    uint64_t bytes_before, bytes_after;
} awq_plan_group;

/* Borrows the recipe, which must not change. */
typedef struct awq_plan awq_plan;
/* Checks the recipe against the model and says what would happen. Writes nothing; reads headers,
   no weights: the model need not have any (awq_model_open). If schemes are to be chosen within a
   target, a pass through the model with the calibration measures what each would do. For a model
   without weights the plan then shows quantize.bits and group_size, and warns.

   A plan finds all that a run would find before its first layer, with the same errors:
   - a recipe that cannot be run (AWQ_ERROR_RECIPE);
   - an output that can never be put in its place (AWQ_ERROR_EXISTS); there is only a warning if
     `force` would replace what is there;
   - if the model has weights, data files that are missing, of no known kind, or wrong where they
     begin;
   - too little memory (see awq_quantize); for a model without weights, only a memory_limit that is
     too small. */
AWQ_API awq_status awq_plan_create(awq_context *ctx, const awq_recipe *recipe, awq_plan **out);
AWQ_API void awq_plan_free(awq_plan *plan);
AWQ_API size_t awq_plan_group_count(const awq_plan *plan);
AWQ_API const awq_plan_group *awq_plan_group_at(const awq_plan *plan, size_t index);
AWQ_API size_t awq_plan_warning_count(const awq_plan *plan);
AWQ_API const char *awq_plan_warning_at(const awq_plan *plan, size_t index);
AWQ_API uint64_t awq_plan_bytes_before(const awq_plan *plan);
AWQ_API uint64_t awq_plan_bytes_after(const awq_plan *plan);
/* If schemes were chosen within a target: the sum over layers of the mean squared error of what
   the experts add to the hidden state, over the mean square of that state. Else NAN. */
AWQ_API double awq_plan_predicted_loss(const awq_plan *plan);
/* What a run of the plan's recipe is expected to need. Its evaluation is not in the seconds. */
typedef struct awq_estimate {
    uint64_t memory_bytes;         /* most that is resident at any time, within the limit */
    uint64_t least_memory_bytes;   /* the smallest limit with which the run works */
    uint64_t memory_limit_bytes;   /* 0: there is none */
    char memory_limit_source[192]; /* "memory_limit", "memory.max of the memory cgroup /a/b", "the
                                      memory of this machine"; "" without a limit */
    uint64_t disk_bytes;           /* of the result */
    double seconds;
    /* What that assumes: */
    int threads;                  /* those of the context */
    uint64_t calibration_tokens;  /* as many as the recipe allows */
    double operations;            /* of matrix products */
    double operations_per_second; /* of large products on all threads, as just measured */
    double read_bytes_per_second; /* as just measured on the model's files, which may be in the
                                     system's cache; 0 without weights */
    /* Where a device computes; seconds and operations_per_second are then its own. */
    char device[320];             /* "cuda:0, NVIDIA H100 80GB HBM3"; "": the processor */
    uint64_t device_memory_bytes; /* about, of the device */
} awq_estimate;
/* Measures this machine for some tenths of a second. */
AWQ_API awq_status awq_plan_estimate(awq_context *ctx, const awq_plan *plan,
                                     awq_estimate *estimate);
AWQ_API void awq_plan_describe(const awq_plan *plan, awq_model_info *info);

/* ------------------------------------------------------------------ engines */

/* What a serving engine takes of a result: one row of the table by which a plan judges the recipe's
   `engine`. */
typedef struct awq_engine_rule {
    const char *engine;     /* as it calls itself: "vLLM" */
    const char *versions;   /* "before 0.23"; "" for all that were read */
    const char *formats;    /* that it is about: "awq|compressed-tensors" */
    const char *constraint; /* "takes experts of 4 or 8 bits, integers" */
    /* What becomes of a result that breaks it: "refused"; "refused by these versions" (a plan
       warns); "note": it is loaded, but slower or larger than it could be */
    const char *level;
    const char *source; /* where the engine says so */
} awq_engine_rule;

typedef struct awq_engine_rule_list awq_engine_rule_list;
/* The whole table, by engine. The list owns its texts, and may outlive the context. */
AWQ_API awq_status awq_engine_rule_list_create(awq_context *ctx, awq_engine_rule_list **out);
AWQ_API void awq_engine_rule_list_free(awq_engine_rule_list *list);
AWQ_API size_t awq_engine_rule_list_count(const awq_engine_rule_list *list);
/* NULL past the end. */
AWQ_API const awq_engine_rule *awq_engine_rule_list_at(const awq_engine_rule_list *list,
                                                       size_t index);

/* ------------------------------------------------------------------ evaluate */

typedef struct awq_eval_options {
    size_t struct_size;       /* sizeof(awq_eval_options) */
    const char *directory;    /* the checkpoint to judge, plain or quantized */
    const char *reference;    /* NULL, or the checkpoint to compare it with */
    const char *plugin;       /* NULL, or the id of the plugin to use */
    const char *const *texts; /* .txt, .jsonl or .json files, joined in order; or NULL */
    size_t text_count;
    const char *field;       /* of a .jsonl line; NULL is "text" */
    const char *ids;         /* a .safetensors file with I32 or I64 ids [n, length]; or NULL */
    int64_t sequence_length; /* of text windows, BOS included; 0 is 256 */
    int64_t windows;         /* at most so many windows; 0 is all */
    const char *device;      /* as the option of that name; NULL is "auto" */
    uint64_t device_memory;  /* bytes; 0 is what is free there */
} awq_eval_options;

typedef struct awq_eval_result {
    double perplexity;
    int64_t tokens;     /* scored: all positions of each window but the first */
    bool has_reference; /* what follows is set only with a reference */
    double reference_perplexity;
    double kl;                    /* mean KL(reference || judged) over all positions, in nats */
    double top1_agreement;        /* share of positions with the same most likely token */
    double router_topk_agreement; /* share of (token, layer) with the same set of experts; 1 where
                                     the model has no router */
} awq_eval_result;

/*
 * Perplexity is exp of the mean negative log likelihood of positions 1 .. length-1 of each window.
 * A text is tokenized whole, without special tokens, and cut into windows of sequence_length
 * ids (BOS and sequence_length-1 ids where the tokenizer has a BOS); the last partial window is
 * dropped. All arithmetic is F32. Layers are read one at a time.
 *
 * Memory: what the memory cgroups of the process allow, or the machine has. Within it fewer workers
 * work at a time; AWQ_ERROR_MEMORY, with what would be enough, where one has no room.
 */
AWQ_API awq_status awq_evaluate(awq_context *ctx, const awq_eval_options *options,
                                awq_eval_result *result);

/* ------------------------------------------------------------------ quantize */

typedef struct awq_report awq_report;

typedef struct awq_quantize_options {
    size_t struct_size; /* sizeof(awq_quantize_options) */
    bool force;         /* once the new output is whole, let it replace one that libawq has made */
    bool restart;       /* discard an interrupted run instead of going on with it */
} awq_quantize_options;

/*
 * Does what the plan says. The result is built in OUTPUT.partial and renamed when it is whole, with
 * the sums of its files in SHA256SUMS (see awq_verify). An interrupted run goes on with the first
 * layer it had not finished, and says so in the log.
 *
 * It goes on only if the run is the same. If not, AWQ_ERROR_EXISTS names what differs, what it was
 * and what it is now: the version, the plugin, a file beside the weights, an option, the ids of
 * calibration or evaluation, or the weights of a layer. Paths may change if what lies there does
 * not; memory_limit, device, device_memory and ignore_engine may change too. A finished layer that
 * is no longer as it was written is done again, with a warning. A damaged journal,
 * OUTPUT.partial/awq_journal.json, is AWQ_ERROR_FORMAT. `restart` skips all these checks.
 *
 * Files beside the weights are copied from the model, but for indexes, other quantizers' configs,
 * hidden files, files of more than 64 MiB, and folders other than additional_chat_templates.
 * README.md is kept as README.source.md. A link out of the model's directory, but to the blobs of a
 * Hugging Face cache, is left out with a warning. If engines need the file, it is AWQ_ERROR_IO,
 * here and in awq_plan_create. Links of weights, index and config.json may lead anywhere, because
 * these files are parsed and not copied.
 *
 * OUTPUT may be missing or an empty directory. Anything else there is AWQ_ERROR_EXISTS. With
 * `force` a result of libawq gives way: a directory that has an awq_provenance.json, and no file
 * that its SHA256SUMS does not list. Where the file system can exchange two names, OUTPUT is
 * missing at no time. Whatever the options, it is AWQ_ERROR_RECIPE if OUTPUT is, holds or lies in
 * the model, or holds a file that the run reads: data, plugin or the recipe itself
 * (awq_recipe_set_source). All these errors come before anything takes time.
 *
 * Warnings are logged as they arise, one line for all of a kind. Once OUTPUT is in place the call
 * succeeds: a cancel in the last progress call, whose fraction is 1, comes too late.
 *
 * Memory: the limit is the least of the recipe's memory_limit, what the memory cgroups of the
 * process allow and, without a memory_limit, the machine's memory. To keep it, fewer workers work
 * at a time, which changes no result. A run that does not fit even so is refused before the first
 * layer, with the limit that works: AWQ_ERROR_RECIPE if the limit is the recipe's, else
 * AWQ_ERROR_MEMORY.
 *
 * Under a limit of the size of files (RLIMIT_FSIZE) the system sends SIGXFSZ, which ends a process
 * that does not ignore or catch it. The library does neither. In a program that does, the call
 * fails with AWQ_ERROR_IO.
 *
 * options NULL: all off. report NULL: not wanted.
 */
AWQ_API awq_status awq_quantize(awq_context *ctx, const awq_recipe *recipe,
                                const awq_quantize_options *options, awq_report **report);
AWQ_API void awq_report_free(awq_report *report);
/* The whole report, which is also written to the output as awq_report.json. */
AWQ_API const char *awq_report_json(const awq_report *report);
/* The evaluation that the recipe asked for; NULL if it asked for none. */
AWQ_API const awq_eval_result *awq_report_evaluation(const awq_report *report);
AWQ_API const char *awq_report_output(const awq_report *report);
/* Of all tensors of the model, and of the result. */
AWQ_API uint64_t awq_report_bytes_before(const awq_report *report);
AWQ_API uint64_t awq_report_bytes_after(const awq_report *report);

typedef struct awq_page awq_page;
/*
 * The report of a finished result as a page of HTML, or of two results beside each other: other may
 * be NULL. The page needs no script, no other file and no network. A run writes that of its result
 * as awq_report.html. Free it with awq_page_free.
 *
 * AWQ_ERROR_IO if a directory has no awq_report.json or awq_provenance.json,
 * AWQ_ERROR_FORMAT if one of them is damaged. Errors name the file. *page is NULL after one.
 */
AWQ_API awq_status awq_page_create(awq_context *ctx, const char *directory, const char *other,
                                   awq_page **page);
/* UTF-8, borrowed; NULL gives "". */
AWQ_API const char *awq_page_html(const awq_page *page);
/* Takes NULL. */
AWQ_API void awq_page_free(awq_page *page);

/* ----------------------------------------------------------------- imatrix */

/*
 * Writes an importance matrix for llama.cpp, imatrix.gguf, into the recipe's output: llama-quantize
 * reads it with --imatrix. It has the mean square of each input of each linear of each layer, from
 * the statistics that awq_quantize has: those of an expert are over the tokens that are routed to
 * it, each counting the square of its weight, and over those that it borrows. Embedding and head
 * are not in it. Of the recipe only model, plugin, output, calibration.* and memory_limit matter.
 *
 * Output, memory, cancelling and data are as for awq_quantize, but for two things: an interrupted
 * run begins anew, and an output with anything in it is AWQ_ERROR_EXISTS. AWQ_ERROR_UNSUPPORTED for
 * an architecture that awq_quantize does not write in gguf.
 */
AWQ_API awq_status awq_imatrix(awq_context *ctx, const awq_recipe *recipe);

/* ------------------------------------------------------------------ verify */

typedef struct awq_verify_options {
    size_t struct_size;    /* sizeof(awq_verify_options) */
    const char *directory; /* a finished checkpoint */
    const char *source;    /* NULL, or the checkpoint that it was made of */
    const char *plugin;    /* NULL, or the id of the plugin to use */
} awq_verify_options;

typedef struct awq_verify_result {
    size_t struct_size; /* sizeof(awq_verify_result), set by the caller: no more is written */
    int64_t problems;   /* all of them; 0: the checkpoint is whole */
    int64_t files;      /* that SHA256SUMS lists and that are there */
    int64_t modules, quantized;
    /* With a source, of the modules whose values fit it: */
    int64_t copied;   /* bit for bit as in the source */
    int64_t rescaled; /* floats that a fold has changed, within its rounding */
    int64_t rounded;  /* quantized ones, within what rounding does to the folded source */
} awq_verify_result;

typedef struct awq_verification awq_verification;
/*
 * Checks whether a checkpoint is as it was written. AWQ_OK means that it could be checked;
 * awq_verification_problem_count tells whether it is whole.
 *
 * Checksums: every file that SHA256SUMS lists is there and has its sum. Files that it does not list
 * are noted; weights among them are a problem.
 *
 * Structure: the directory opens as a checkpoint, and every module that the architecture describes
 * has its tensors, with the shapes and types that config.json asks for.
 *
 * With a source: its tensors have the hashes that awq_provenance.json lists, so that another source
 * is found out. What is not quantized is as in the source bit for bit, or within two roundings if a
 * fold has changed it. Each code stands for its folded weight. With nearest rounding it is the
 * nearest of the values of its group; weights outside a clip range belong to its ends. With GPTQ
 * the root mean square of a row's errors is less than a step.
 *
 * AWQ_ERROR_IO if directory or source is not there, AWQ_ERROR_PLUGIN if no plugin knows the
 * architecture; a source that cannot be read is an error as awq_model_open gives it. The
 * verification must not outlive its context.
 */
AWQ_API awq_status awq_verify(awq_context *ctx, const awq_verify_options *options,
                              awq_verification **out);
AWQ_API void awq_verification_free(awq_verification *verification);
AWQ_API void awq_verification_describe(const awq_verification *verification,
                                       awq_verify_result *result);
/* One line each, with the file or module, in the order of finding; at most 100. */
AWQ_API size_t awq_verification_problem_count(const awq_verification *verification);
/* NULL past the end. */
AWQ_API const char *awq_verification_problem_at(const awq_verification *verification, size_t index);
/* Notes: worth knowing, but no problem. */
AWQ_API size_t awq_verification_note_count(const awq_verification *verification);
AWQ_API const char *awq_verification_note_at(const awq_verification *verification, size_t index);

#ifdef __cplusplus
}
#endif
#endif
