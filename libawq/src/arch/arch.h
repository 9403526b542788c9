/* From a plugin's description to the named modules of a checkpoint. */
#ifndef AWQ__ARCH_H
#define AWQ__ARCH_H

#include "awq/awq.h"
#include "awq/plugin.h"
#include "checkpoint/checkpoint.h"
#include "core/json.h"

/* ---- plugin.c: finding, loading and checking ---- */

typedef struct awq__plugin {
    void *library;    /* of dlopen; NULL for a linked-in one */
    char *path;       /* "(linked)" for that */
    char *error;      /* why it was refused, or NULL */
    awq_plugin table; /* a copy; members that the plugin does not have are NULL */
} awq__plugin;

typedef struct awq__plugins {
    awq__plugin *items;
    size_t count, capacity;
} awq__plugins;

/* Loads and checks all plugins of the context's sources. Fails only for want of memory: what is
   refused has its error set. The same file is loaded once. */
awq_status awq__plugins_load(awq_context *ctx, awq__plugins *plugins);
void awq__plugins_free(awq__plugins *plugins);
/* The one that serves model_type and, if `wanted` is not NULL or "", has this id. AWQ_ERROR_PLUGIN
   if there is none, or more than one and none is wanted; of several with the wanted id it is the
   first that was found. */
awq_status awq__plugins_choose(awq_context *ctx, const awq__plugins *plugins,
                               const char *model_type, const char *wanted,
                               const awq__plugin **chosen);

/* ---- plugin_file.c ---- */

#define AWQ__REASON_BYTES 512
/* Is it safe to load the file with this resolved path: regular, whole, for this kind of machine,
   and writable only for trusted users? If not, `reason` says why; no message is set. */
bool awq__plugin_file_check(const char *path, char reason[AWQ__REASON_BYTES]);
/* Is its name that of a plugin that computes, awq-compute-NAME.so, and knows no architecture? */
bool awq__plugin_computes(const char *path);

/* ---- host.c ---- */

/* Keys of config.json's outermost object, shortened. */
typedef struct awq__keys {
    char names[64][48];
    int count; /* more than fit: past what `names` holds */
} awq__keys;

typedef struct awq__host {
    awq_host table;
    awq_context *ctx;
    const char *file; /* config.json, for messages */
    /* Keys are looked up in the first, which is a part of the second or the same. */
    const cJSON *config, *whole_config;
    const awq__checkpoint *checkpoint; /* or NULL */
    const awq_wrapped *wrapped;        /* names are asked for without its prefix; or NULL */
    awq__keys found, missed;           /* that a plugin has asked for */
} awq__host;
void awq__host_init(awq__host *host, awq_context *ctx, const char *file, const cJSON *config,
                    const awq__checkpoint *checkpoint);

/* ---- misspelt.c: keys that were meant to be others ---- */

/* Notes that the outermost key of a path was asked for. */
void awq__host_note(awq__host *host, const char *path, bool found);
/* A key of config.json that looks like this one, or NULL. */
const char *awq__host_similar(const awq__host *host, const char *key);
/* Appends a list of keys that nothing has asked for and that look like one that was not there:
   "rope_theeta" for "rope_theta". */
awq_status awq__host_misspelt(const awq__host *host, awq__text *list);

/* ---- arch.c: an opened checkpoint with its description ---- */

typedef enum awq__part {
    AWQ__PART_EMBEDDING,
    AWQ__PART_ATTENTION_NORM, /* from here to DOWN: in each layer that has it, in this order */
    AWQ__PART_Q,
    AWQ__PART_K,
    AWQ__PART_V,
    AWQ__PART_Q_A,
    AWQ__PART_KV_A,
    AWQ__PART_Q_B,
    AWQ__PART_KV_B,
    AWQ__PART_O,
    AWQ__PART_Q_A_NORM,
    AWQ__PART_KV_A_NORM,
    AWQ__PART_Q_NORM,
    AWQ__PART_K_NORM,
    AWQ__PART_SINKS,
    AWQ__PART_DELTA_QKV, /* of a delta net, in place of Q to SINKS but for O */
    AWQ__PART_DELTA_Z,
    AWQ__PART_DELTA_B,
    AWQ__PART_DELTA_A,
    AWQ__PART_DELTA_CONV,
    AWQ__PART_DELTA_A_LOG,
    AWQ__PART_DELTA_DT_BIAS,
    AWQ__PART_DELTA_NORM,
    AWQ__PART_ATTENTION_POST_NORM,
    AWQ__PART_MOE_NORM,
    AWQ__PART_SHARED_NORM,
    AWQ__PART_EXPERTS_POST_NORM, /* from here to ROUTER_EXPERT_SCALE: vectors that never change */
    AWQ__PART_SHARED_POST_NORM,
    AWQ__PART_MOE_POST_NORM,
    AWQ__PART_LAYER_SCALAR,
    AWQ__PART_ROUTER_CORRECTION,
    AWQ__PART_ROUTER_INPUT_SCALE,
    AWQ__PART_ROUTER_EXPERT_SCALE,
    AWQ__PART_ROUTER,
    AWQ__PART_TOKEN_GATE, /* of the shared expert */
    AWQ__PART_GATE,       /* GATE, UP, DOWN: for each expert, then for the shared one */
    AWQ__PART_UP,
    AWQ__PART_DOWN,
    AWQ__PART_FINAL_NORM,
    AWQ__PART_HEAD,
} awq__part;

typedef struct awq__module {
    char name[AWQ_NAME_BYTES];
    char *stored;       /* the name that this checkpoint has, where it is another; or NULL */
    const char *suffix; /* of its tensor: ".weight", or "" where the name is the tensor's */
    awq__part part;
    awq_role role;
    int64_t layer;  /* -1 outside the layers */
    int64_t expert; /* -1 outside the experts; the shared one, or the MLP of a dense layer, comes
                       after the routed ones */
    int64_t rows, cols; /* N, K; cols 1 and vector true for a vector */
    bool vector;
    bool convolution; /* its tensor is [N, 1, K] */
    bool plus_one;    /* a norm that multiplies by 1 + weight */
    bool bias;        /* it has one: NAME.bias, or a part of a fused tensor */
    bool fused;       /* weight and bias are parts of the fused tensors of the layer's experts */
} awq__module;

typedef struct awq__arch {
    awq__checkpoint *checkpoint; /* NULL: there are no weights, config.json describes the model */
    cJSON *config;
    char *config_path;
    awq__text misspelt; /* keys of config.json that seem to be meant for others, a list; or empty */
    const char *model_type;     /* borrowed from config */
    const cJSON *text_config;   /* config, or the part of it that describes the text model */
    const awq_wrapped *wrapped; /* of the plugin, for this model_type; or NULL */
    bool renames;               /* the checkpoint has the names that wrapped says */
    awq__plugins plugins;
    const awq__plugin *plugin; /* the chosen one */
    awq_arch_model model;
    awq_arch_layer *layers; /* [model.layer_count] */
    awq__module *modules;   /* in the model's order */
    size_t module_count;
    const awq__module **by_name; /* all modules, sorted by their names in the checkpoint */
    size_t *layer_first;         /* [layer_count + 1] index of each layer's first module */
    size_t *parts; /* [layer_count][AWQ__PART_GATE + 1] index of each part, SIZE_MAX where
                      the layer has none; the last is the first expert's gate */
} awq__arch;

/* `path` is a directory with a config.json, with weights or without any, or a config.json by
   itself, beside which no weights are looked for. */
awq_status awq__arch_open(awq_context *ctx, const char *path, const char *plugin, awq__arch **out);
/* The same of a config.json in memory, which is taken over, of a model whose weights lie elsewhere;
   path is for messages. */
awq_status awq__arch_open_config(awq_context *ctx, const char *path, cJSON *config,
                                 const char *plugin, awq__arch **out);
void awq__arch_free(awq__arch *arch);
/* The index of a layer's module; expert is ignored for parts that are not an expert's. The layer
   must have the part. */
size_t awq__arch_index(const awq__arch *arch, int64_t layer, awq__part part, int64_t expert);
/* Is its attention by latents (MLA)? */
static inline bool awq__arch_has_latents(const awq_arch_layer *layer)
{
    return layer->latent.kv_rank != 0;
}
/* Has the layer this part? True for the parts of experts. */
bool awq__arch_has(const awq__arch *arch, int64_t layer, awq__part part);
/* Routed experts and the shared one, or the MLP of a dense layer. */
int64_t awq__arch_experts(const awq__arch *arch, int64_t layer);
/* Is the tensor a module's, or one that modules are parts of? */
bool awq__arch_stores(const awq__arch *arch, const char *tensor);

/* The highest layer past the last that the checkpoint has tensors of, by their names, and one of
   them; -1 if there is none. */
int64_t awq__arch_layer_beyond(const awq__arch *arch, const char **tensor);

/* The tensors of a layer's fused experts. */
#define AWQ__FUSED_NAME_BYTES (AWQ_NAME_BYTES + 8)
#define AWQ__MAX_FUSED 6
/* Names in the layout `layout`, one of the fused ones: gate_up and down, each followed by the rest
   of its parts (blocks and scales for MXFP4), then the biases if there are. Returns their number.
 */
int awq__fused_names(const awq_arch_experts *experts, int32_t layout,
                     char names[AWQ__MAX_FUSED][AWQ__FUSED_NAME_BYTES]);

/* ---- roles.c ---- */

/* Is it a matrix that a linear layer multiplies with? */
bool awq__is_linear(const awq__module *module);

/* Parts that read the same tokens of one input, and that engines stack into one matrix: the first
   of them. */
awq__part awq__first_beside(awq__part part);

/* ---- wrapped.c ---- */

/* Sets text_config and wrapped. */
void awq__wrapped_find(awq__arch *arch, const awq_wrapped *wrapped);
/* The stored name of a described one; false if it is longer than size - 1. */
bool awq__wrapped_name(const awq_wrapped *wrapped, const char *name, char *out, size_t size);
/* Gives the names of a description their prefix, unless the checkpoint lacks it. First the model,
   then its layers. */
awq_status awq__wrapped_model(awq_context *ctx, awq__arch *arch);
awq_status awq__wrapped_layer(awq_context *ctx, awq__arch *arch, awq_arch_layer *layer);

/* ---- hub.c ---- */

/* AWQ_ERROR_IO, which tells how to download it, if the path looks like OWNER/NAME on the Hugging
   Face Hub and nothing is there. */
awq_status awq__check_hub_name(awq_context *ctx, const char *path);

/* ---- readers.c: which norm a linear reads, and what folds into it ---- */

/* The part whose norm makes the module's input; AWQ__PART_EMBEDDING, which is none, if no norm
   does. */
awq__part awq__norm_of(const awq__arch *arch, const awq__module *module);
/* The AWQ_FOLD_ bit of scales that go into this norm; 0 if none can. */
uint32_t awq__fold_of_norm(awq__part norm);

/* Rows that make what another linear of the layer reads: of each `stride` rows the last `run`, for
   `shared` runs of the other's columns. */
typedef struct awq__producing {
    awq__part reader;
    uint32_t fold; /* the AWQ_FOLD_ bit; 0: the module makes no such thing */
    int64_t run, shared, stride;
} awq__producing;
awq__producing awq__produces(const awq__arch *arch, const awq__module *module);

/* ---- other_names.c ---- */

#define AWQ__MAX_OTHER_NAMES 8
/* One more than AWQ__MAX_OTHER_NAMES if a plugin has more than that. NULL: 0. */
int awq__count_other_names(const awq_other_name *pairs);
/* The module's name in the checkpoint. */
static inline const char *awq__stored_name(const awq__module *module)
{
    return module->stored ? module->stored : module->name;
}
/* Finds the modules whose tensors have another of the names that the plugin knows. */
awq_status awq__find_other_names(awq_context *ctx, awq__arch *arch);

/* ---- check.c ---- */

/* Checks a description: names ended and not empty, sizes in range, reserved space zero. */
awq_status awq__check_model(awq_context *ctx, const char *plugin, const awq_arch_model *model);
awq_status awq__check_layer(awq_context *ctx, const char *plugin, int64_t n,
                            const awq_arch_model *model, const awq_arch_layer *layer);

#endif
