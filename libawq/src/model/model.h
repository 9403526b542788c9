/* An opened checkpoint with its stored weights: what the driver and the evaluation read layers
 * from. */
#ifndef AWQ__MODEL_H
#define AWQ__MODEL_H

#include "arch/arch.h"
#include "format/format.h"
#include "format/gguf_model.h"
#include "forward/layer.h"

/* More than any disk holds, and sums of it do not overflow. */
#define AWQ__MAX_MODEL_BYTES ((uint64_t)1 << 53)

struct awq_model {
    awq_context *ctx;
    char *directory; /* as given: the path of a config.json by itself, too */
    awq__arch *arch;
    awq_dtype dtype;                /* of the floats that a model without weights would have */
    uint64_t bytes;                 /* of all tensors */
    const awq__disk_format *format; /* NULL: a plain checkpoint */
    awq__stored stored;
    bool has_codes;  /* some module is stored in codes or in FP8; of a model that is open as a whole
                      */
    awq__gguf *gguf; /* what the weights lie in; NULL: the checkpoint, if there is one */
    const awq__gguf_family *family;
    awq_module *modules; /* the public list */
    char **texts;        /* their storage strings */
};

/* Opens a checkpoint in the making. Its modules are not listed, and each is looked at only when it
   is read, since until it is written its tensors may hold anything. */
awq_status awq__model_open_partial(awq_context *ctx, const char *path, const char *plugin,
                                   awq_model **out);
/* False for one that config.json alone describes: then no module has data. */
static inline bool awq__model_has_weights(const awq_model *model)
{
    return model->arch->checkpoint != NULL || model->gguf != NULL;
}
/* AWQ_ERROR_IO if the model has no weights; `undone` is what cannot be done to it, "quantized". */
awq_status awq__model_require_weights(const awq_model *model, const char *undone);

/* How one module is stored. */
typedef struct awq__found {
    awq__weight weight; /* without its bias, which only a loaded layer has */
    bool packed;        /* in codes */
    bool row;           /* a vector that is stored as [1, N] */
    bool fp8;           /* in F8_E4M3 with scales; weight.dtype is what it becomes as floats */
    bool fp8_blocks;    /* and the scales are of blocks by their size */
    awq__scheme scheme; /* of a packed one */
    uint64_t bytes;     /* of all that stores it, its bias too */
    /* A bias: element n lies at bias + n * bias_stride elements. NULL: none, or one that is not
       held. */
    const uint8_t *bias;
    awq_dtype bias_dtype;
    int64_t bias_stride;
} awq__found;

/* AWQ_ERROR_FORMAT if the module's tensors are missing or of another shape than the architecture
   says, AWQ_ERROR_UNSUPPORTED for an element type other than BF16, F16, F32 and, with their
   scales, F8_E4M3. In a model without weights everything is found as it would be stored. What is
   found has data where `held` has it, which may be NULL. */
awq_status awq__model_find(const awq_model *model, const awq__module *module, awq__held *held,
                           awq__found *found);

/* ---- gguf.c: models in GGUF ---- */

/* The GGUF file that a path leads to: it is one, or a directory without a config.json and with one.
 *file is the caller's, NULL where there is none. */
awq_status awq__model_gguf_file(awq_context *ctx, const char *path, char **file);
awq_status awq__model_open_gguf(awq_model *model, const char *file, const char *plugin);
/* awq__model_find there. */
awq_status awq__model_find_gguf(const awq_model *model, const awq__module *module, awq__held *held,
                                awq__found *found);
/* A file beside the weights, for the caller to free; NULL for want of memory. */
char *awq__model_file(const awq_model *model, const char *name);

/* A layer in memory: its weights as they are stored, its vectors and biases as floats. It stays
   where it is: a thread has the next layer's weights read ahead meanwhile. */
typedef struct awq__loaded_layer {
    awq__layer layer;
    awq__held held;
    awq__expert *experts;
    float *vectors; /* norms, sinks and biases, one after the other */
    const awq_model *model;
    pthread_t reader;
    bool begun;          /* the backend has taken the weights over */
    bool reading;        /* there is that thread */
    _Atomic bool enough; /* it is to stop */
} awq__loaded_layer;
/* Checks every weight for NaN and infinity, and hands the layer to the context's backend until it
   is freed. */
awq_status awq__model_layer(const awq_model *model, int64_t number, awq__loaded_layer *loaded);
/* The same without anything that has to be read: no weight has data, no vector is there. */
awq_status awq__model_layer_shape(const awq_model *model, int64_t number,
                                  awq__loaded_layer *loaded);
void awq__loaded_layer_free(awq__loaded_layer *loaded);
/* Floats of work space to read blocks of the largest matrix of a layer. */
int64_t awq__layer_work(const awq__layer *layer);
/* read_ahead.c: called by these two. */
void awq__read_ahead(awq__loaded_layer *loaded);
void awq__read_done(awq__loaded_layer *loaded);

/* One module in memory. */
typedef struct awq__loaded_module {
    awq__found found;
    awq__held held;
} awq__loaded_module;
/* Checks it for NaN and infinity. */
awq_status awq__model_module(const awq_model *model, size_t index, awq__loaded_module *loaded);
void awq__loaded_module_free(awq__loaded_module *loaded);
/* The embedding or the head; the embedding is also the head of a model that has no other. */
awq_status awq__model_end(const awq_model *model, awq__part part, awq__loaded_module *loaded);
/* The final norm, [H]; awq__free_aligned takes it. */
awq_status awq__model_final_norm(const awq_model *model, float **norm);

#endif
