/* The journal of a run: what identifies the run, and which layers are finished. An interrupted run
 * is resumed by it. */
#ifndef AWQ__JOURNAL_H
#define AWQ__JOURNAL_H

#include "write/write.h"

/* ---- checksum.c ---- */

/* The hash of a layer's tensors in the source; of layer -1, of those outside the layers. held NULL:
 * the tensors are read for this. */
awq_status awq__source_hash(const awq_model *model, int64_t layer, awq__held *held, uint64_t *hash);
/* The hash of the layer's tensors in the result, as they are on disk. */
awq_status awq__written_hash(const awq__writer *writer, int64_t layer, uint64_t *hash);

/* ---- journal.c ---- */

typedef struct awq__journal {
    const awq__writer *writer; /* of the result */
    cJSON *json;               /* NULL: no journal, as in a plan */
    bool resumed;              /* an earlier run wrote it */
} awq__journal;

#define AWQ__HASH_TEXT 22 /* bytes, with the NUL */
/* "xxh3:0123456789abcdef" */
void awq__hash_text(uint64_t hash, char text[AWQ__HASH_TEXT]);

#define AWQ__ENDS "embedding, head or last norm" /* their key in the journal */

/* Reads the journal of an earlier run in the partial directory, or begins one. AWQ_ERROR_FORMAT if
   it is damaged. With `restart` it is not looked at. */
awq_status awq__journal_open(const awq__writer *writer, bool restart, awq__journal *journal);
/* Makes durable what was written so far and then writes the journal, on a thread of its own. A kill
 * loses the layer in work and at most the one before it. */
awq_status awq__journal_write(awq__journal *journal);
/* Notes something that identifies the run, by name. AWQ_ERROR_EXISTS if an earlier run noted
 * something else. */
awq_status awq__journal_agree(awq__journal *journal, const char *name, const char *value);
awq_status awq__journal_agree_hash(awq__journal *journal, const char *name, uint64_t hash);
/* The object of a layer; NULL in a job without a journal, that is, in a plan. */
cJSON *awq__journal_layer(const awq__journal *journal, int64_t layer);
/* Notes the hash of a layer's tensors in the source, or checks that it has not changed. */
awq_status awq__journal_source(awq__journal *journal, awq__loaded_layer *loaded);
/* Has the layer been finished? */
bool awq__journal_has(const awq__journal *journal, int64_t layer);
/* Notes that it is finished, and keeps its report, which the journal then owns. */
awq_status awq__journal_add(awq__journal *journal, int64_t layer, cJSON *report);
/* Is a finished layer on disk as it was written? A warning is logged if not. */
awq_status awq__journal_check(awq__journal *journal, int64_t layer, bool *whole);
void awq__journal_free(awq__journal *journal);

/* ---- kernels.c ---- */

/* Adds this run's kernels to the journal's list. Warns if the interrupted run that it resumes used
 * others. */
awq_status awq__kernels_join(awq__journal *journal);
/* All of the journal, a list to be freed. NULL if there is no memory. */
cJSON *awq__kernels(const awq__journal *journal);

#endif
