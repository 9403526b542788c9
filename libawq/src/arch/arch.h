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

/* ---- host.c ---- */

typedef struct awq__host {
    awq_host table;
    awq_context *ctx;
    const char *file; /* config.json, for messages */
    const cJSON *config;
    const awq__checkpoint *checkpoint;
} awq__host;
void awq__host_init(awq__host *host, awq_context *ctx, const char *file, const cJSON *config,
                    const awq__checkpoint *checkpoint);

/* ---- arch.c: an opened checkpoint with its description ---- */

typedef enum awq__part {
    AWQ__PART_EMBEDDING,
    AWQ__PART_ATTENTION_NORM, /* from here to DOWN: in each layer, in this order */
    AWQ__PART_Q,
    AWQ__PART_K,
    AWQ__PART_V,
    AWQ__PART_O,
    AWQ__PART_MOE_NORM,
    AWQ__PART_ROUTER,
    AWQ__PART_GATE, /* GATE, UP, DOWN: for each expert */
    AWQ__PART_UP,
    AWQ__PART_DOWN,
    AWQ__PART_FINAL_NORM,
    AWQ__PART_HEAD,
} awq__part;

typedef struct awq__module {
    char name[AWQ_NAME_BYTES];
    awq__part part;
    awq_role role;
    int64_t layer;      /* -1 outside the layers */
    int64_t expert;     /* -1 outside the experts */
    int64_t rows, cols; /* N, K; cols 1 and vector true for a norm */
    bool vector;
} awq__module;

typedef struct awq__arch {
    awq__checkpoint *checkpoint;
    cJSON *config;
    char *config_path;
    const char *model_type; /* borrowed from config */
    awq__plugins plugins;
    const awq__plugin *plugin; /* the chosen one */
    awq_arch_model model;
    awq_arch_layer *layers; /* [model.layer_count] */
    awq__module *modules;   /* in the model's order */
    size_t module_count;
    const char **names;  /* of all modules, sorted */
    size_t *layer_first; /* [layer_count + 1] index of each layer's first module */
} awq__arch;

awq_status awq__arch_open(awq_context *ctx, const char *directory, const char *plugin,
                          awq__arch **out);
void awq__arch_free(awq__arch *arch);
/* The index of a layer's module; expert is ignored for parts that are not an expert's. */
size_t awq__arch_index(const awq__arch *arch, int64_t layer, awq__part part, int64_t expert);
/* Is the tensor the ".weight" of a module? */
bool awq__arch_stores(const awq__arch *arch, const char *tensor);

/* Checks a description: names ended and not empty, sizes in range, reserved space zero. */
awq_status awq__check_model(awq_context *ctx, const char *plugin, const awq_arch_model *model);
awq_status awq__check_layer(awq_context *ctx, const char *plugin, int64_t n,
                            const awq_arch_model *model, const awq_arch_layer *layer);

#endif
