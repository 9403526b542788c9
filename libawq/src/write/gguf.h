/* Results in GGUF: functions that the other files of this room call for that format. */
#ifndef AWQ__WRITE_GGUF_H
#define AWQ__WRITE_GGUF_H

#include "format/gguf_model.h"
#include "write/write.h"

#define AWQ__GGUF_HEAD "output.weight"

/* ---- gguf_tensors.c ---- */

/* Where a module's weight or bias lies, and as what. */
typedef struct awq__gguf_target {
    awq__gguf_place place;
    const awq__ggml_type *type;
} awq__gguf_target;
awq_status awq__gguf_target_of(const awq__model_plan *plan, const awq__module *module, bool bias,
                               awq__gguf_target *to);
/* Does the embedding serve as head where the graph asks for a head? Then it is written twice. */
bool awq__gguf_copies_embedding(const awq__model_plan *plan, const awq__module *module);

typedef awq_status (*awq__gguf_visit)(void *user, const char *name, const awq__ggml_type *type,
                                      int rank, const int64_t *shape);
/* Calls visit for each tensor of a layer, as awq__result_tensors. */
awq_status awq__gguf_tensors(const awq__model_plan *plan, int64_t layer, awq__gguf_visit visit,
                             void *user);
/* The same with dtypes: blocks are bytes. */
awq_status awq__gguf_plain_tensors(const awq__model_plan *plan, int64_t layer,
                                   awq__result_visit visit, void *user);

/* ---- gguf_layout.c, gguf_store.c: as their namesakes without gguf ---- */

awq_status awq__gguf_write_layout(const awq__writer *writer, uint64_t shard_bytes);
awq_status awq__gguf_store_weight(const awq__writer *writer, const awq__module *module,
                                  const awq__weight *weight);
awq_status awq__gguf_store_vector(const awq__writer *writer, const awq__module *module,
                                  const float *values);
awq_status awq__gguf_store_codes(const awq__writer *writer, const awq__module *module,
                                 const awq__weight *weight, const awq__codes *codes);
/* Writes the tensors outside the layers. */
awq_status awq__gguf_write_end(const awq__writer *writer, size_t index, const awq__weight *weight);

#endif
