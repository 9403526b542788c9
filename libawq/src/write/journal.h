/* What lets an interrupted run go on: of what the run is, and which layers it has finished. */
#ifndef AWQ__JOURNAL_H
#define AWQ__JOURNAL_H

#include "write/write.h"

/* ---- checksum.c ---- */

/* Of all tensors of a layer that are held, or, where held is NULL, are read for it: of -1, all that
   lies outside the layers. */
awq_status awq__source_hash(const awq_model *model, int64_t layer, awq__held *held, uint64_t *hash);
/* Of those of the result, as they are on disk. */
awq_status awq__written_hash(const awq__writer *writer, int64_t layer, uint64_t *hash);

/* ---- journal.c ---- */

typedef struct awq__journal {
    const awq__writer *writer; /* of the result that it is of */
    cJSON *json;               /* NULL: there is none, as for a plan */
    bool resumed;              /* an earlier run has left it */
} awq__journal;

#define AWQ__HASH_TEXT 22 /* bytes, with the NUL */
/* "xxh3:0123456789abcdef" */
void awq__hash_text(uint64_t hash, char text[AWQ__HASH_TEXT]);

#define AWQ__ENDS "embedding, head or last norm" /* by which the journal has their hash */

/* Reads the journal of an earlier run in the partial directory, or begins one. AWQ_ERROR_FORMAT if
   it is damaged. With `restart` it is not looked at. */
awq_status awq__journal_open(const awq__writer *writer, bool restart, awq__journal *journal);
/* Makes durable what was written so far, then says so, beside the work that follows: a kill loses
   the layer in work and at most the one before it. */
awq_status awq__journal_write(awq__journal *journal);
/* Notes what the run is of, by name. AWQ_ERROR_EXISTS if that of an earlier run was another. */
awq_status awq__journal_agree(awq__journal *journal, const char *name, const char *value);
awq_status awq__journal_agree_hash(awq__journal *journal, const char *name, uint64_t hash);
/* What is known of a layer; NULL in a job without a journal, which is that of a plan. */
cJSON *awq__journal_layer(const awq__journal *journal, int64_t layer);
/* Notes the source's tensors of a layer, or sees that they are as they were. */
awq_status awq__journal_source(awq__journal *journal, awq__loaded_layer *loaded);
/* Has the layer been finished? */
bool awq__journal_has(const awq__journal *journal, int64_t layer);
/* Notes that it is finished, with its report, which is taken over. */
awq_status awq__journal_add(awq__journal *journal, int64_t layer, cJSON *report);
/* Is a finished layer on disk as it was written? A warning is logged if not. */
awq_status awq__journal_check(awq__journal *journal, int64_t layer, bool *whole);
void awq__journal_free(awq__journal *journal);

/* ---- kernels.c ---- */

/* Adds the kernels that compute in this run to the journal's, with a warning where an interrupted
   run that it goes on with had others. */
awq_status awq__kernels_join(awq__journal *journal);
/* All of the journal, a list to be freed. NULL if there is no memory. */
cJSON *awq__kernels(const awq__journal *journal);

#endif
