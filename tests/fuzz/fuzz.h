/*
 * What the fuzz targets share: a context, a directory for files, the parts of an input, and the
 * check of what must hold.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "awq/awq.h"
#include "core/core.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Each target defines it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What does not hold is a finding: the program says where, and aborts. */
#define MUST(condition) ((condition) ? (void)0 : fuzz_broken(__FILE__, __LINE__, #condition))
_Noreturn void fuzz_broken(const char *file, int line, const char *condition);

/* The same for all inputs, with one thread. */
awq_context *fuzz_context(void);
/* A failure has a message: one line of UTF-8 that no terminal obeys. */
void fuzz_judge(awq_status status);
/* The same of a public function, which leaves no message where it succeeds. */
void fuzz_judge_public(awq_status status);
/* Fit to be printed on a terminal, as one line. */
bool fuzz_is_clean(const char *text);

/* ---- inputs ---- */

/* A line of its own that parts the texts of an input. */
#define FUZZ_SEPARATOR "\n%%\n"

/* Memory of exactly this size, so that a sanitizer sees each byte read too many. */
typedef struct fuzz_part {
    char *data;
    size_t size;
} fuzz_part;
/* Cuts an input into exactly `count` parts; missing ones are empty, the last is all that is left.
 */
void fuzz_split(const uint8_t *data, size_t size, fuzz_part *parts, size_t count);
void fuzz_free(fuzz_part *parts, size_t count);
/* The part with a NUL behind it; the caller's to free. */
char *fuzz_string(const fuzz_part *part);

/* ---- files ---- */

/* The path of a file in the program's own directory, which is in memory where the system offers
   that; "" is the directory. Valid until the next call but seven. */
const char *fuzz_path(const char *name);
/* Creates or replaces it. */
void fuzz_write(const char *name, const void *data, size_t size);
void fuzz_write_part(const char *name, const fuzz_part *part);
void fuzz_make_directory(const char *name);
/* A directory with all that is in it; none may be there. */
void fuzz_remove_directory(const char *name);

/* ---- tensors.c ---- */

/*
 * Writes a safetensors file whose header is right, so that what comes after the header is reached.
 * Both lists have a line for each tensor:
 *     NAME DTYPE SHAPE DATA
 * SHAPE is "4x8", "-" for none, or "*" for as many elements as there are bytes of data. DATA is
 * hexadecimal digits, or a quote and then a text to the line's end; it is repeated to fill the
 * tensor, and zeros where there is none. A line replaces an earlier one of the same name. Lines
 * that say none of this, and tensors past a megabyte in all, are passed over.
 */
void fuzz_write_tensors(const char *name, const char *base, const char *more);

/* ---- plugins.c ---- */

/* To the context, once. */
void fuzz_add_plugins(void);

/* ---- models.c ---- */

/* Would the config.json describe more than a few hundred experts? Each would be listed, and one
   input would take long. */
bool fuzz_is_large(const fuzz_part *config);
/* A small Mixtral: that a target reads and plans it shows that the target works. H 64, two heads of
   8, two experts, I 32, one layer, eight ids. */
extern const char fuzz_good_config[];
/* What an opened model says of itself is in order. */
void fuzz_check_model(const awq_model *model);

/* ---- strict_json.c ---- */

/* Is it JSON as core/json.h has it, but for keys that stand twice? `allowed` is AWQ__JSON_... */
bool fuzz_is_json(const char *text, size_t size, unsigned allowed);

#endif
