/* Memory that is there, or the program ends. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

void *must_realloc(void *pointer, size_t count, size_t size)
{
    size_t bytes;
    void *grown =
        __builtin_mul_overflow(count, size, &bytes) ? NULL : realloc(pointer, bytes + !bytes);
    if (!grown) {
        print_error("out of memory");
        exit(FAILED);
    }
    return grown;
}

char *must_copy(const char *text, size_t length)
{
    char *copy = must_realloc(NULL, length + 1, 1);
    memcpy(copy, text, length);
    copy[length] = 0;
    return copy;
}
